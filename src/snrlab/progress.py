"""How fast something long goes, and how long something took, as log lines."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)
_EVERY = 10.0


class Throughput:
    """Logs how many are done, how many a second, and how long the rest will take."""

    def __init__(self, what: str, total: int, did: str = "encoded") -> None:
        """Begin with `total` of `what`; `did` says what has been done with those that are done."""
        self._what, self._total, self._did = what, total, did
        self._done = 0
        self._began = self._last = time.monotonic()

    def update(self, count: int) -> None:
        """So many more are done."""
        self._done += count
        now = time.monotonic()
        if now - self._last >= _EVERY and self._done < self._total:
            self._last = now
            left = math.ceil((self._total - self._done) * (now - self._began) / self._done)
            rate = self._done / (now - self._began)
            done = f"{self._did} {self._done} of {self._total} {self._what}"
            logger.info(f"{done}, {_short(rate)} a second, {left} s left")

    def close(self) -> None:
        """All are done."""
        seconds = max(time.monotonic() - self._began, 1e-9)
        if self._done:
            rate = self._done / seconds
            what = self._what if self._done > 1 else self._what.removesuffix("s")
            logger.info(f"{self._did} {self._done} {what} in {seconds:.1f} s, {_short(rate)} a second")


def _short(rate: float) -> str:
    """Three digits, and no powers of ten.

    >>> _short(0.25449), _short(1283.4)
    ('0.254', '1283')
    """
    return f"{rate:.3g}" if rate < 1000 else f"{rate:.0f}"


@contextmanager
def timed(logger: logging.Logger, what: str) -> Iterator[None]:
    """Log `what` and its seconds when it is done; where it fails, nothing."""
    began = time.monotonic()
    yield
    logger.debug(f"{what}: {time.monotonic() - began:.2f} s")
