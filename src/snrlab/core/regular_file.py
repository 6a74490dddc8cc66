"""The one check that every reader of a user's file needs before it opens it."""

from __future__ import annotations

from pathlib import Path

from snrlab.core.errors import UserError


def check_regular_file(path: Path, where: str = "", largest: int | None = None) -> None:
    """Refuse a pipe or device, which might never end, and a file that is too large to be what it should be.

    Args:
        path: what is about to be opened; where nothing is, opening it will say so.
        where: how the message begins, such as `sample.prompts_file`.
        largest: bytes that it may have.

    Raises:
        UserError: it is neither an ordinary file nor a folder, or too large.
    """
    start = f"{where}: " if where else ""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise UserError(f"{start}{path} is not an ordinary file.", code="not-a-file")
    if largest is not None and path.is_file() and (size := path.stat().st_size) > largest:
        raise UserError(
            f"{start}{path} has {size / 2**20:.0f} MiB; at most {largest >> 20} are read of such a file.",
            code="file-too-large",
        )
