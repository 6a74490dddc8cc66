"""Run lock: one process trains in a run folder at a time. The operating system frees it after a crash."""

from __future__ import annotations

import json
import logging
import os
import socket
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from snrlab.core.errors import UserError

logger = logging.getLogger(__name__)

LOCK, HOLDER = ".lock", ".holder.json"


class RunLock:
    """Lock of a run folder; as a context manager, it is released on leaving the block."""

    def __init__(self, folder: Path) -> None:
        """Prepare the lock of `folder`; `take` acquires it."""
        self._folder = folder
        self._lock = FileLock(folder / LOCK, thread_local=False)

    def __enter__(self) -> RunLock:
        return self

    def __exit__(self, *reason: object) -> None:
        self.release()

    def take(self) -> None:
        """Acquire the lock of an existing folder; taking it again does nothing.

        Raises:
            UserError: another process holds it; the message says which.
        """
        if self._lock.is_locked:
            return
        try:
            self._lock.acquire(timeout=0.3)  # `is_locked` in another process holds it for a moment
        except Timeout:
            raise UserError(
                f"{self._folder} is in use: a run in it is still going on{holder(self._folder)}. Wait for it, stop it, "
                "or choose another name.",
                code="run-in-use",
            ) from None
        except (OSError, NotImplementedError) as error:
            if (self._folder / LOCK).exists():
                logger.warning(f"{self._folder} cannot be locked ({error}): do not start a second run in it.")
                return
            raise
        with suppress(OSError):  # the file only serves messages
            start = datetime.now().astimezone().isoformat(timespec="seconds")
            process = {"pid": os.getpid(), "host": socket.gethostname(), "start": start}
            (self._folder / HOLDER).write_text(json.dumps(process) + "\n", encoding="utf-8")

    def release(self) -> None:
        """Release the lock if this object holds it."""
        if self._lock.is_locked:
            with suppress(OSError):
                (self._folder / HOLDER).unlink(missing_ok=True)
            self._lock.release()


def is_locked(folder: Path) -> bool:
    """Whether a process is training in the folder now."""
    lock = FileLock(folder / LOCK, thread_local=False)
    if not (folder / LOCK).exists():
        return False
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return False
    lock.release()
    return False


def holder(folder: Path) -> str:
    """Which process holds the lock, as the end of a sentence; empty where that is not known."""
    try:
        process = json.loads((folder / HOLDER).read_text(encoding="utf-8"))
        return f" in process {process['pid']} on {process['host']} since {process['start']}"
    except (OSError, ValueError, KeyError):
        return ""
