"""Progress and timing as log lines: throughput of long work, seconds of short work."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)
_LOG_INTERVAL = 10.0  # seconds between progress lines


class Throughput:
    """Progress of a long piece of work: logs how many items are done, how many a second, and the seconds left."""

    def __init__(self, items: str, total: int, verb: str = "encoded") -> None:
        """Start the clock; `items` (a plural) and `verb` (past tense) name the work: "encoded 7 of 20 images"."""
        self._items, self._total, self._verb = items, total, verb
        self._done = 0
        self._started = self._last_line = time.monotonic()

    def update(self, count: int) -> None:
        """Count `count` more items as done, and log a line if the last one is 10 s old."""
        self._done += count
        now = time.monotonic()
        if now - self._last_line >= _LOG_INTERVAL and self._done < self._total:
            self._last_line = now
            left = math.ceil((self._total - self._done) * (now - self._started) / self._done)
            rate = self._done / (now - self._started)
            done = f"{self._verb} {self._done} of {self._total} {self._items}"
            logger.info(f"{done}, {_format_rate(rate)} a second, {left} s left")

    def close(self) -> None:
        """Log the total and the rate, unless nothing was done."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        if self._done:
            rate = self._done / seconds
            items = self._items if self._done > 1 else self._items.removesuffix("s")
            logger.info(f"{self._verb} {self._done} {items} in {seconds:.1f} s, {_format_rate(rate)} a second")


def _format_rate(rate: float) -> str:
    """A rate with three significant digits, never in scientific notation.

    >>> _format_rate(0.25449), _format_rate(1283.4)
    ('0.254', '1283')
    """
    return f"{rate:.3g}" if rate < 1000 else f"{rate:.0f}"


@contextmanager
def timed(logger: logging.Logger, action: str) -> Iterator[None]:
    """Log `action` and its seconds at level debug when the block ends; nothing if it raises."""
    started = time.monotonic()
    yield
    logger.debug(f"{action}: {time.monotonic() - started:.2f} s")
