"""How fast something that comes before the training goes, said now and then."""

from __future__ import annotations

import math
import time

from snrlab.models.cache import Say

EVERY = 10.0


class Throughput:
    """Says how many are done, how many a second, and how long the rest will take."""

    def __init__(self, what: str, total: int, say: Say) -> None:
        """Begin with `total` of `what` to encode."""
        self._what, self._total, self._say = what, total, say
        self._done = 0
        self._began = self._last = time.monotonic()

    def update(self, count: int) -> None:
        """So many more are done."""
        self._done += count
        now = time.monotonic()
        if now - self._last >= EVERY and self._done < self._total:
            self._last = now
            left = math.ceil((self._total - self._done) * (now - self._began) / self._done)
            rate = self._done / (now - self._began)
            self._say(f"encoded {self._done} of {self._total} {self._what}, {rate:.3g} a second, {left} s left")

    def close(self) -> None:
        """All are done."""
        seconds = max(time.monotonic() - self._began, 1e-9)
        if self._done:
            rate = self._done / seconds
            self._say(f"encoded {self._done} {self._what} in {seconds:.1f} s, {rate:.3g} a second")
