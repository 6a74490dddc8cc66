"""Stop signals on every system: Ctrl-C, a closed terminal, a scheduler's notice."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

logger = logging.getLogger(__name__)

# Ctrl-C; a scheduler or `kill`; the terminal has gone; Windows: Ctrl-Break, a closed window, logging off
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name))


class Stop:
    """Whether a run has been asked to stop; outside `after_the_step` a request raises KeyboardInterrupt at once.

    Within it, the first request lets the run finish its step and save. A second one, which may be another signal of
    the same event, interrupts only work that can be done again after the save. A third one stops at once.
    """

    def __init__(self) -> None:
        self._can_wait, self._can_break_off, self._requests = False, False, 0

    def __call__(self) -> bool:
        """Whether the run has been asked to stop."""
        return self._requests > 0

    @contextmanager
    def after_the_step(self) -> Iterator[None]:
        """Context of the steps: requests wait until the step is done and saved."""
        self._can_wait = True
        try:
            yield
        finally:
            self._can_wait = False

    @contextmanager
    def breakable(self) -> Iterator[None]:
        """Context of long work between steps, which a second request breaks off."""
        self._can_break_off = True
        try:
            yield
        finally:
            self._can_break_off = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        self._requests += 1
        if not self._can_wait or self._requests > 2 or (self._requests == 2 and self._can_break_off):
            raise KeyboardInterrupt
        with suppress(RuntimeError):  # where the signal came while something was being printed
            first = _STOPPING_AFTER_WORK if self._can_break_off else _STOPPING
            logger.warning(first if self._requests == 1 else _STILL_STOPPING)


_STOPPING = "Stopping after this step, and saving."
_STOPPING_AFTER_WORK = "Stopping when this is done, and saving. Press Ctrl-C again to save and stop now."
_STILL_STOPPING = (
    "Still finishing this step. A third Ctrl-C stops at once and loses the steps since the last checkpoint."
)


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Context in which stop signals reach the yielded `Stop`; signals that are ignored, as under nohup, stay ignored.

    Outside the main thread Python cannot handle signals, so they are left to the calling program.
    """
    stop = Stop()
    previous_handlers = {}
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                previous_handlers[number] = signal.signal(number, stop.handle)
    try:
        yield stop
    finally:
        for number, previous in previous_handlers.items():
            signal.signal(number, signal.SIG_DFL if previous is None else previous)
