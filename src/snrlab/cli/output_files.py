"""Files that a command writes at the user's word: nothing that is there is replaced."""

from __future__ import annotations

from pathlib import Path

from snrlab.cli.choices import DOCUMENTS
from snrlab.cli.messages import wrote
from snrlab.core.errors import UserError

_WEIGHTS = ".safetensors"


def form(stated: str | None, out: Path | None) -> str:
    """The form of what a command says: as stated, else as the ending of the file has it, else text.

    >>> form(None, Path("a.html")), form("json", Path("a.html")), form(None, Path("a.txt")), form(None, None)
    ('html', 'json', 'text', 'text')
    """
    if stated is None:
        ending = out.suffix.lower().removeprefix(".") if out else ""
        return ending if ending in DOCUMENTS else "text"
    return stated


def free(*options: tuple[str, Path | None]) -> None:
    """Refuse, before any work, to write over something (UserError); pairs of an option's name and its path."""
    for option, path in options:
        if path is not None and path.exists():
            raise UserError(f"{option}: {path} exists; name another file.", code="already-exists")


def free_path(path: Path, *, or_folder: bool = False) -> Path:
    """The path, or where something is there the first free one with a number after its name.

    Args:
        path: what the user asked for.
        or_folder: what is written may be a folder, whose name may have dots in it.

    Raises:
        UserError: its folder is not there, or a folder is where a file is to be.
    """
    if not path.absolute().parent.is_dir():
        raise UserError(f"--out: there is no folder {path.parent}.", code="missing-file")
    if path.is_dir() and not or_folder:
        raise UserError(f"--out: {path} is a folder; name a file in it.", code="not-a-file")
    ending = path.suffix if not or_folder or path.suffix.lower() == _WEIGHTS else ""
    taken, number = path, 1
    while path.exists():
        number += 1
        path = taken.with_name(f"{taken.name.removesuffix(ending)}-{number}{ending}")
    return path


def write_and_tell(path: Path, data: bytes) -> None:
    """Write a file and say so (UserError where it cannot be written)."""
    put(path, data)
    wrote(path)


def put(path: Path, data: bytes) -> None:
    """Write a file (UserError where it cannot be written)."""
    try:
        path.write_bytes(data)
    except OSError as reason:
        raise UserError(f"--out: {path} cannot be written ({reason.strerror}).", code="unwritable-file") from None
