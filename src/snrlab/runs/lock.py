"""One run in a folder at a time: a lock of the operating system, which a crash cannot leave behind."""

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
    """The lock of a run folder; leaving it as a context releases it."""

    def __init__(self, folder: Path) -> None:
        """Of this folder."""
        self._folder = folder
        self._lock = FileLock(folder / LOCK, thread_local=False)

    def __enter__(self) -> RunLock:
        return self

    def __exit__(self, *reason: object) -> None:
        self.release()

    def take(self) -> None:
        """Take the lock; again is no harm, and there must be a folder.

        Raises:
            UserError: another process has it; the message says which.
        """
        if self._lock.is_locked:
            return
        try:
            self._lock.acquire(timeout=0.3)  # somebody may be looking whether it is free
        except Timeout:
            raise UserError(
                f"{self._folder} is in use: a run in it goes on{holder(self._folder)}. Wait for it, stop it, or "
                "choose another name.",
                code="run-in-use",
            ) from None
        except (OSError, NotImplementedError) as reason:
            if (self._folder / LOCK).exists():
                logger.warning(f"{self._folder} cannot be locked here ({reason}): start no second run in it yourself.")
                return
            raise
        with suppress(OSError):  # it is for messages alone
            start = datetime.now().astimezone().isoformat(timespec="seconds")
            facts = {"pid": os.getpid(), "host": socket.gethostname(), "start": start}
            (self._folder / HOLDER).write_text(json.dumps(facts) + "\n", encoding="utf-8")

    def release(self) -> None:
        """Let go of it, where it was taken."""
        if self._lock.is_locked:
            with suppress(OSError):
                (self._folder / HOLDER).unlink(missing_ok=True)
            self._lock.release()


def is_locked(folder: Path) -> bool:
    """Whether a process trains in a folder now."""
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
    """Who has the lock, for a message."""
    try:
        facts = json.loads((folder / HOLDER).read_text(encoding="utf-8"))
        return f" in process {facts['pid']} on {facts['host']} since {facts['start']}"
    except (OSError, ValueError, KeyError):
        return ""
