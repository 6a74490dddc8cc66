"""Files that a command writes at the user's word."""

from __future__ import annotations

from pathlib import Path

import typer

from snrlab.core.errors import UserError


def free(*options: tuple[str, Path | None]) -> None:
    """Refuse, before any work, to write over something (UserError); pairs of an option's name and its path."""
    for option, path in options:
        if path is not None and path.exists():
            raise UserError(f"{option}: {path} exists; name another file.")


def write(path: Path, data: bytes) -> None:
    """Write a file and say so (UserError where it cannot be written)."""
    try:
        path.write_bytes(data)
    except OSError as reason:
        raise UserError(f"{path} cannot be written ({reason.strerror}).") from None
    typer.echo(f"wrote {path}")
