"""Order of training examples: the example of each slot, as a pure function of (seed, step, slot).

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
    """Order of the training examples.

    Attributes:
        seed: of the run.
        total: slots in the global batch.
        buckets: rows of each bucket's entries; a repeated row occurs as often as it is repeated.
    """

    seed: int
    total: int
    buckets: tuple[Rows, ...]

    @property
    def entries(self) -> int:
        """Number of entries, which is the number of slots in an epoch."""
        return sum(map(len, self.buckets))

    @cached_property
    def pattern(self) -> NDArray[np.int64]:
        """Bucket of each step of a period."""
        return turns_by_step([len(rows) for rows in self.buckets])

    @cached_property
    def _earlier_turns(self) -> NDArray[np.int64]:
        """Number of earlier turns in the period of the bucket of each step."""
        turns = np.zeros(len(self.buckets), dtype=np.int64)
        earlier = np.empty_like(self.pattern)
        for step, bucket in enumerate(self.pattern):
            earlier[step] = turns[bucket]
            turns[bucket] += 1
        return earlier

    def bucket(self, step: int) -> int:
        """Bucket that the whole global batch of a step comes from."""
        return int(self.pattern[step % len(self.pattern)])

    def rows(self, step: int, slots: NDArray[np.int64]) -> Rows:
        """Rows of the step's bucket for these slots."""
        bucket = self.bucket(step)
        rows = self.buckets[bucket]
        periods, place = divmod(step, len(self.pattern))
        turn = periods * len(rows) // math.gcd(*map(len, self.buckets)) + int(self._earlier_turns[place])
        chosen = [data_index(self.seed, turn, int(slot), self.total, len(rows), bucket)[1] for slot in slots]
        return rows[chosen]


def turns_by_step(weights: Sequence[int]) -> NDArray[np.int64]:
    """User whose turn it is at each step of a period, such that |turns - share| < 1 after any number of steps.

    A user's j-th turn may come once its share passes j and must have come by the time it passes j + 1; of those who
    may, the one who must soonest goes first (Baruah et al. 1996, "Proportionate progress").

    >>> turns_by_step([1, 2, 3]).tolist()
    [2, 1, 2, 0, 1, 2]
    """
    divisor = math.gcd(*weights)
    shares = [weight // divisor for weight in weights]
    period = sum(shares)
    waiting = [(0, user, 0) for user in range(len(shares))]  # (earliest step, user, turns so far)
    heapify(waiting)
    ready: list[tuple[int, int, int]] = []  # (deadline, user, turns so far)
    users = np.empty(period, dtype=np.int64)
    for step in range(period):
        while waiting and waiting[0][0] <= step:
            _, user, turns = heappop(waiting)
            heappush(ready, (-(-(turns + 1) * period // shares[user]), user, turns))
        _, user, turns = heappop(ready)
        users[step] = user
        heappush(waiting, ((turns + 1) * period // shares[user], user, turns + 1))
    return users
