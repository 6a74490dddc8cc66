"""Random streams: every random number is a function of (seed, purpose, step, slot in the global batch).

So resuming needs no saved generator state, two processes draw what one would, batch 4 equals
2 x 2 accumulated, and runs that differ only in their recipe see the same data and noise.
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

MAX_TABLE_SIZE = 2**20  # examples up to which the order of an epoch is a table in memory
FEISTEL_ROUNDS = 6  # rounds of the Feistel network that orders larger data
Purpose = Literal[
    "order", "bucket", "t", "strata", "noise", "perturbation", "dropout", "caption", "augmentation", "rounding",
    "validation", "sample", "sampler", "adapter",
]  # fmt: skip


def stream(seed: int, purpose: Purpose, step: int, slot: int = 0) -> np.random.Generator:
    """The generator for one purpose at one step and slot, independent of all others."""
    key = np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), step, slot])
    return np.random.Generator(np.random.Philox(key))


def uniforms(seed: int, step: int, slots: NDArray[np.int64], total: int, *, stratified: bool) -> Array:
    """One uniform in [0, 1) for each slot of a global batch of `total` slots.

    Stratified sampling puts one uniform into each of `total` equal strata, permuted over the slots,
    which lowers the variance of a step without changing its expectation.
    """
    u = np.array([stream(seed, "t", step, int(slot)).random() for slot in slots])
    if not stratified:
        return u
    stratum = stream(seed, "strata", step).permutation(total)[slots]
    return np.minimum((stratum + u) / total, np.nextafter(1.0, 0.0))


def inverse_cdf(p: Array, u: Array) -> NDArray[np.int64]:
    """The timestep at which the cumulative sum of p passes u; timesteps with p = 0 are never returned.

    >>> inverse_cdf(np.array([0.0, 0.5, 0.0, 0.5]), np.array([0.0, 0.499, 0.5, 0.999]))
    array([1, 1, 3, 3])
    """
    cdf = np.cumsum(p)
    return np.searchsorted(cdf / cdf[-1], u, side="right").astype(np.int64)


def data_index(seed: int, step: int, slot: int, total: int, size: int, bucket: int = 0) -> tuple[int, int]:
    """(epoch, index) of the example for a slot: each epoch is a fresh permutation of `size` examples.

    With several buckets `step` counts the batches from this bucket, and each bucket has its own permutations.
    """
    epoch, position = divmod(step * total + slot, size)
    if size > MAX_TABLE_SIZE:
        return epoch, _feistel_index(seed, epoch, size, bucket, position)
    return epoch, int(_order(seed, epoch, size, bucket)[position])


def _feistel_index(seed: int, epoch: int, size: int, bucket: int, position: int) -> int:
    """Index at a position of an epoch, without a table, for sizes whose table would fill the memory.

    A keyed Feistel network permutes the numbers of 2 b bits, at most four times `size`. Applying it until the number
    is below `size` (cycle walking) is a permutation of the indices.
    """
    bits = (size - 1).bit_length() + 1 >> 1
    key = np.array([seed, epoch, bucket], dtype=np.uint64).tobytes()
    number = position
    while True:
        left, right = number >> bits, number & ((1 << bits) - 1)
        for round_ in range(FEISTEL_ROUNDS):
            mixed = hashlib.blake2b(bytes([round_]) + right.to_bytes(8, "little"), key=key, digest_size=8).digest()
            left, right = right, left ^ (int.from_bytes(mixed, "little") & ((1 << bits) - 1))
        number = left << bits | right
        if number < size:
            return number


@lru_cache(maxsize=64)
def _order(seed: int, epoch: int, size: int, bucket: int) -> NDArray[np.int64]:
    rng = stream(seed, "bucket", epoch, bucket) if bucket else stream(seed, "order", epoch)
    return rng.permutation(size)
