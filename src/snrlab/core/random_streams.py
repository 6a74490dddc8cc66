"""Every random number is a function of (seed, purpose, step, slot in the global batch).

So resuming needs no saved generator state, two processes draw what one would, batch 4 equals
2 x 2 accumulated, and runs that differ in their recipe only still see the same data and noise.
Timesteps are the inverse CDF of the recipe's density at a uniform that all recipes share.
"""

from __future__ import annotations

import hashlib
import zlib
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from snrlab.core.arrays import Array

TABULATED = 2**20  # examples up to which an epoch's order is a table
ROUNDS = 6  # of the network that orders more
Purpose = Literal[
    "order", "bucket", "t", "strata", "noise", "perturbation", "dropout", "caption", "augmentation", "rounding",
    "validation", "sample", "adapter",
]  # fmt: skip


def stream(seed: int, purpose: Purpose, step: int, slot: int = 0) -> np.random.Generator:
    """The generator for one purpose at one step and slot; streams do not depend on each other."""
    key = np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), step, slot])
    return np.random.Generator(np.random.Philox(key))


def uniforms(seed: int, step: int, slots: NDArray[np.int64], total: int, *, stratified: bool) -> Array:
    """One uniform in [0, 1) for each slot of a global batch of `total` slots.

    Stratified puts one uniform into each of `total` equal strata, permuted over the slots, which
    lowers the variance of a step without changing its expectation.
    """
    u = np.array([stream(seed, "t", step, int(slot)).random() for slot in slots])
    if not stratified:
        return u
    stratum = stream(seed, "strata", step).permutation(total)[slots]
    return np.minimum((stratum + u) / total, np.nextafter(1.0, 0.0))


def inverse_cdf(p: Array, u: Array) -> NDArray[np.int64]:
    """The timestep at which the cumulated density p passes u; steps with p = 0 are never returned.

    >>> inverse_cdf(np.array([0.0, 0.5, 0.0, 0.5]), np.array([0.0, 0.499, 0.5, 0.999]))
    array([1, 1, 3, 3])
    """
    cdf = np.cumsum(p)
    return np.searchsorted(cdf / cdf[-1], u, side="right").astype(np.int64)


def data_index(seed: int, step: int, slot: int, total: int, size: int, bucket: int = 0) -> tuple[int, int]:
    """(epoch, index) of the example for a slot: each epoch is a fresh permutation of `size` examples.

    With several buckets `step` counts the turns of this one, and each has permutations of its own.
    """
    epoch, place = divmod(step * total + slot, size)
    if size > TABULATED:
        return epoch, _walked(seed, epoch, size, bucket, place)
    return epoch, int(_order(seed, epoch, size, bucket)[place])


def _walked(seed: int, epoch: int, size: int, bucket: int, place: int) -> int:
    """The same without a table, for sizes whose table would fill the memory: a keyed permutation, walked into range.

    A Feistel network permutes the numbers of 2 b bits, at most four times as many as there are; it is applied again
    until the number is one of ours, which is a permutation of ours.
    """
    bits = (size - 1).bit_length() + 1 >> 1
    key = np.array([seed, epoch, bucket], dtype=np.uint64).tobytes()
    found = place
    while True:
        left, right = found >> bits, found & ((1 << bits) - 1)
        for turn in range(ROUNDS):
            mixed = hashlib.blake2b(bytes([turn]) + right.to_bytes(8, "little"), key=key, digest_size=8).digest()
            left, right = right, left ^ (int.from_bytes(mixed, "little") & ((1 << bits) - 1))
        found = left << bits | right
        if found < size:
            return found


@lru_cache(maxsize=64)
def _order(seed: int, epoch: int, size: int, bucket: int) -> NDArray[np.int64]:
    rng = stream(seed, "bucket", epoch, bucket) if bucket else stream(seed, "order", epoch)
    return rng.permutation(size)
