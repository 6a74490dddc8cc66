"""Writing files that are whole or not there, whatever happens meanwhile."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from snrlab.core.errors import UserError

UNFINISHED = ".tmp"  # ending of what is being written
FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)


class WriteError(UserError):
    """A file that could not be written; what was there under its name before is still there."""

    def __init__(self, message: str, *, code: str = "unwritable-file") -> None:
        """With the message; `disk-full` is a code of its own."""
        super().__init__(message, code=code)


@contextmanager
def atomically(path: Path, size: int | None = None) -> Iterator[IO[bytes]]:
    """Write a file under a temporary name; on leaving it is flushed to the disk and gets its own.

    Args:
        path: where it shall be.
        size: bytes that it will have, for the message.

    Raises:
        WriteError: the disk is full, the folder is read-only, or whatever else the system says.
    """
    temporary = unfinished(path)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except BaseException as reason:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(reason, OSError):
            raise write_error(path, reason, size) from None
        raise


@contextmanager
def folder_atomically(path: Path) -> Iterator[Path]:
    """Fill a folder under a temporary name; on leaving it gets its own. What another attempt has left there goes.

    Raises:
        WriteError: the disk is full, the folder above is read-only, or whatever else the system says.
    """
    temporary = unfinished(path)
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        yield temporary
        temporary.replace(path)
        sync_folder(path.parent)
    except BaseException as reason:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(reason, OSError):
            raise write_error(path, reason) from None
        raise


def unfinished(path: Path) -> Path:
    """The name under which it is written."""
    return path.with_name(path.name + UNFINISHED)


def write_atomically(path: Path, content: bytes) -> None:
    """A file with this content, whole or not at all (WriteError where it cannot be written)."""
    with atomically(path, len(content)) as file:
        file.write(content)


def write_error(path: Path, reason: OSError, size: int | None = None) -> WriteError:
    """What a system's refusal to write a file means, and what to do."""
    needs = "" if size is None else f", which needs {in_bytes(size)}"
    if reason.errno in FULL:
        free = ""
        with suppress(OSError):
            free = f" ({in_bytes(shutil.disk_usage(path.parent).free)} free)"
        return WriteError(f"{path}{needs} cannot be written: the disk is full{free}. Make room.", code="disk-full")
    if reason.errno == errno.EFBIG:
        return WriteError(f"{path}{needs} cannot be written: this system allows no file of that size here.")
    if reason.errno in FORBIDDEN:
        return WriteError(
            f"{path} cannot be written: {path.parent} is read-only, or not yours to write to. Make it writable."
        )
    return WriteError(f"{path}{needs} cannot be written ({reason.strerror or reason}).")


def sync_folder(folder: Path) -> None:
    """Have a new name in a folder reach the disk, where the system can be asked for that (Windows cannot)."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def in_bytes(size: int) -> str:
    """Bytes in words.

    >>> in_bytes(2 * 2**20), in_bytes(3 * 2**30)
    ('2.0 MB', '3.0 GB')
    """
    return f"{size / 2**30:.1f} GB" if size >= 2**30 else f"{max(size / 2**20, 0.1):.1f} MB"
