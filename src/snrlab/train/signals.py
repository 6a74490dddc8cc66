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
    """Whether a run has been asked to stop; outside `after_the_step` a request raises KeyboardInterrupt at once."""

    def __init__(self) -> None:
        self._can_wait, self._requested = False, False

    def __call__(self) -> bool:
        """Whether the run has been asked to stop."""
        return self._requested

    @contextmanager
    def after_the_step(self) -> Iterator[None]:
        """Context in which the first request lets the run finish its step and save; a second one stops it at once."""
        self._can_wait = True
        try:
            yield
        finally:
            self._can_wait = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self._requested or not self._can_wait:
            self._requested = True
            raise KeyboardInterrupt
        self._requested = True
        with suppress(RuntimeError):  # where the signal came while something was being printed
            logger.warning("stopping after this step and saving; press Ctrl-C again to stop at once")


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
