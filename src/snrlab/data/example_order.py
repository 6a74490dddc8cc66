"""Which example a slot of a step gets, as a pure function of (seed, step, slot).

Images of one size form a bucket, and all slots of a global batch come from one. Which bucket has its turn follows a
fixed pattern in which no bucket is ever a whole step ahead of its share or behind it; within a bucket each pass is a
fresh permutation. So every entry is seen equally often, none is dropped, and batch 4 equals 2 x 2 accumulated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import heapify, heappop, heappush

import numpy as np
from numpy.typing import NDArray

from snrlab.core.random_streams import data_index

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Order:
    """Entries to train on, bucket by bucket.

    Attributes:
        total: slots in the global batch.
        buckets: for each, the rows that its entries stand for; a row that is repeated is there as often.
    """

    seed: int
    total: int
    buckets: tuple[Rows, ...]

    @property
    def entries(self) -> int:
        """Entries in all: an epoch is so many slots."""
        return sum(map(len, self.buckets))

    @cached_property
    def pattern(self) -> NDArray[np.int64]:
        """The bucket of each step of a period."""
        return turns_by_step([len(rows) for rows in self.buckets])

    @cached_property
    def _before(self) -> NDArray[np.int64]:
        """How often the bucket of each step of a period had its turn earlier in the period."""
        seen = np.zeros(len(self.buckets), dtype=np.int64)
        found = np.empty_like(self.pattern)
        for step, bucket in enumerate(self.pattern):
            found[step] = seen[bucket]
            seen[bucket] += 1
        return found

    def bucket(self, step: int) -> int:
        """The bucket that a step's whole global batch comes from."""
        return int(self.pattern[step % len(self.pattern)])

    def rows(self, step: int, slots: NDArray[np.int64]) -> Rows:
        """Rows of the step's bucket that these slots get."""
        bucket = self.bucket(step)
        rows = self.buckets[bucket]
        periods, place = divmod(step, len(self.pattern))
        turn = periods * len(rows) // math.gcd(*map(len, self.buckets)) + int(self._before[place])
        chosen = [data_index(self.seed, turn, int(slot), self.total, len(rows), bucket)[1] for slot in slots]
        return rows[chosen]


def turns_by_step(weights: Sequence[int]) -> NDArray[np.int64]:
    """Whose turn it is at each step of a period, so that after any number of steps |turns - share| < 1.

    A user's j-th turn may come once its share passes j and must have come by the time it passes j + 1; of those who
    may, the one who must soonest goes first (Baruah et al. 1996, "Proportionate progress").

    >>> turns_by_step([1, 2, 3]).tolist()
    [2, 1, 2, 0, 1, 2]
    """
    divisor = math.gcd(*weights)
    shares = [weight // divisor for weight in weights]
    period = sum(shares)
    waiting = [(0, user, 0) for user in range(len(shares))]  # (may come at, user, turns had)
    heapify(waiting)
    ready: list[tuple[int, int, int]] = []  # (must have come by, user, turns had)
    found = np.empty(period, dtype=np.int64)
    for step in range(period):
        while waiting and waiting[0][0] <= step:
            _, user, had = heappop(waiting)
            heappush(ready, (-(-(had + 1) * period // shares[user]), user, had))
        _, user, had = heappop(ready)
        found[step] = user
        heappush(waiting, ((had + 1) * period // shares[user], user, had + 1))
    return found
