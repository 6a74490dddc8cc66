"""Check of a user's file before it is opened: an ordinary file of a plausible size."""

from __future__ import annotations

from pathlib import Path

from snrlab.core.errors import UserError


def check_regular_file(path: Path, where: str = "", largest: int | None = None) -> None:
    """Refuse a pipe or device, which might never end, and a file too large to be of the expected kind.

    Args:
        path: the file about to be opened; a missing one passes, since opening it gives the error.
        where: beginning of the message, such as `sample.prompts_file`.
        largest: maximum size in bytes.

    Raises:
        UserError: the path is neither an ordinary file nor a folder, or the file is too large.
    """
    prefix = f"{where}: " if where else ""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise UserError(f"{prefix}{path} is not an ordinary file.", code="not-a-file")
    if largest is not None and path.is_file() and (size := path.stat().st_size) > largest:
        raise UserError(
            f"{prefix}{path} has {size / 2**20:.0f} MiB; at most {largest >> 20} are read of such a file.",
            code="file-too-large",
        )
