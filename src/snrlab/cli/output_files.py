"""Output files of commands; an existing file is never replaced."""

from __future__ import annotations

from pathlib import Path

from snrlab.cli.choices import DOCUMENTS
from snrlab.cli.messages import report_written
from snrlab.core.errors import UserError

_WEIGHTS = ".safetensors"


def output_format(format: str | None, out: Path | None) -> str:
    """The format of a command's output: the one given, or that of the file's ending, or text.

    >>> output_format(None, Path("a.html")), output_format("json", Path("a.html"))
    ('html', 'json')
    >>> output_format(None, Path("a.txt")), output_format(None, None)
    ('text', 'text')
    """
    if format is None:
        ending = out.suffix.lower().removeprefix(".") if out else ""
        return ending if ending in DOCUMENTS else "text"
    return format


def refuse_existing(*options: tuple[str, Path | None]) -> None:
    """Refuse existing output files before any work (UserError); takes pairs of an option's name and its path."""
    for option, path in options:
        if path is not None and path.exists():
            raise UserError(f"{option}: {path} exists; name another file.", code="already-exists")


def free_path(path: Path, *, or_folder: bool = False) -> Path:
    """The path if nothing exists there, or else the first free one with a number after its name.

    Args:
        path: the path that the user asked for.
        or_folder: whether a folder may be written, whose name may contain dots.

    Raises:
        UserError: the parent folder does not exist, or the path of a file is a folder.
    """
    if not path.absolute().parent.is_dir():
        raise UserError(f"--out: there is no folder {path.parent}.", code="missing-file")
    if path.is_dir() and not or_folder:
        raise UserError(f"--out: {path} is a folder; name a file in it.", code="not-a-file")
    ending = path.suffix if not or_folder or path.suffix.lower() == _WEIGHTS else ""
    wanted, number = path, 1
    while path.exists():
        number += 1
        path = wanted.with_name(f"{wanted.name.removesuffix(ending)}-{number}{ending}")
    return path


def write_and_report(path: Path, data: bytes) -> None:
    """Write a file and print its name (UserError if it cannot be written)."""
    write_file(path, data)
    report_written(path)


def write_file(path: Path, data: bytes) -> None:
    """Write a file (UserError if it cannot be written)."""
    try:
        path.write_bytes(data)
    except OSError as reason:
        raise UserError(f"--out: {path} cannot be written ({reason.strerror}).", code="unwritable-file") from None
