"""Ctrl-C, a closed terminal, a scheduler's notice: what asks a run to stop, on whatever system."""

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
    """Whether a run has been asked to stop. At first every request stops it at once, by KeyboardInterrupt."""

    def __init__(self) -> None:
        self._patient, self._asked = False, False

    def __call__(self) -> bool:
        """Whether it has."""
        return self._asked

    @contextmanager
    def after_the_step(self) -> Iterator[None]:
        """Within it the first request is noted, for the run to finish its step and save; the second stops at once."""
        self._patient = True
        try:
            yield
        finally:
            self._patient = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Take a signal."""
        if self._asked or not self._patient:
            self._asked = True
            raise KeyboardInterrupt
        self._asked = True
        with suppress(RuntimeError):  # where the signal came while something was being printed
            logger.warning("stopping after this step and saving; press Ctrl-C again to stop at once")


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Within it requests to stop reach the `Stop` that it yields; what is ignored, as under nohup, stays ignored.

    In another than the main thread, signals are left to whoever runs us there.
    """
    stop = Stop()
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, stop.handle)
    try:
        yield stop
    finally:
        for number, previous in before.items():
            signal.signal(number, signal.SIG_DFL if previous is None else previous)
