"""Atomic writing of files and folders: complete or absent, even after a crash."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from snrlab.core.errors import UserError

TEMPORARY_SUFFIX = ".tmp"  # of a file or folder that is being written
DISK_FULL_ERRNOS = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
FORBIDDEN_ERRNOS = (errno.EROFS, errno.EACCES, errno.EPERM)


class WriteError(UserError):
    """A file could not be written; a previous file of that name is untouched."""

    def __init__(self, message: str, *, code: str = "unwritable-file") -> None:
        """With the message for the user; the code is `unwritable-file` or `disk-full`."""
        super().__init__(message, code=code)


@contextmanager
def atomically(path: Path, size: int | None = None) -> Iterator[IO[bytes]]:
    """Open a file for writing under a temporary name; on exit it is flushed to disk and renamed to `path`.

    Args:
        path: final path.
        size: expected bytes, for the message of an error.

    Raises:
        WriteError: the disk is full, the folder is read-only, or another error of the system.
    """
    temporary = temporary_path(path)
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
    """Create a folder under a temporary name to fill; on exit it is renamed to `path`.

    Leftovers of an earlier attempt are deleted.

    Raises:
        WriteError: the disk is full, the parent folder is read-only, or another error of the system.
    """
    temporary = temporary_path(path)
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


def temporary_path(path: Path) -> Path:
    """The temporary path that a file or folder is written under."""
    return path.with_name(path.name + TEMPORARY_SUFFIX)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file with this content, completely or not at all (WriteError)."""
    with atomically(path, len(content)) as file:
        file.write(content)


def write_error(path: Path, reason: OSError, size: int | None = None) -> WriteError:
    """WriteError for a system error while writing a file: what it means, and what to do."""
    need = "" if size is None else f", which needs {format_bytes(size)}"
    if reason.errno in DISK_FULL_ERRNOS:
        free = ""
        with suppress(OSError):
            free = f" ({format_bytes(shutil.disk_usage(path.parent).free)} free)"
        return WriteError(f"{path}{need} cannot be written: the disk is full{free}. Make room.", code="disk-full")
    if reason.errno == errno.EFBIG:
        return WriteError(f"{path}{need} cannot be written: this system allows no file of that size here.")
    if reason.errno in FORBIDDEN_ERRNOS:
        return WriteError(
            f"{path} cannot be written: {path.parent} is read-only, or not yours to write to. Make it writable."
        )
    return WriteError(f"{path}{need} cannot be written ({reason.strerror or reason}).")


def sync_folder(folder: Path) -> None:
    """Flush a folder, and so the new names in it, to disk, if the system supports it (Windows does not)."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def format_bytes(size: int) -> str:
    """A size with its unit, MB or GB.

    >>> format_bytes(2 * 2**20), format_bytes(3 * 2**30)
    ('2.0 MB', '3.0 GB')
    """
    return f"{size / 2**30:.1f} GB" if size >= 2**30 else f"{max(size / 2**20, 0.1):.1f} MB"
