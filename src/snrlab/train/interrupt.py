"""Ctrl-C, which is the one signal that every system has."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def stop_on_interrupt(say: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """First Ctrl-C: finish the step, save and stop. Second: stop at once. Yields what tells whether to stop."""
    asked: list[bool] = []

    def handle(signum: int, frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(True)
        say("stopping after this step and saving; press Ctrl-C again to stop at once")

    try:
        previous = signal.signal(signal.SIGINT, handle)
    except ValueError:  # not the main thread: whoever runs us there handles signals
        yield lambda: False
        return
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, previous)
