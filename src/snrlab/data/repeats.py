"""Repeats of images in an epoch: shares of several sets, and regularisation images to match the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def share_epoch(counts: Sequence[int], ratios: Sequence[float]) -> list[int]:
    """Number of images that each set shows in an epoch, in the given shares; no set shows fewer than it has.

    Args:
        counts: images x repeats of each set, >= 1.
        ratios: shares that sum to 1.

    >>> share_epoch([10, 1000], [0.5, 0.5])
    [1000, 1000]
    """
    total = max(count / ratio for count, ratio in zip(counts, ratios, strict=True))
    return [max(count, round(total * ratio)) for count, ratio in zip(counts, ratios, strict=True)]


def scale_repeats(repeats: Sequence[int], total: int) -> list[int]:
    """Repeats of images, scaled up to sum to `total`; where that leaves a remainder, the first images get one more.

    >>> scale_repeats([1, 1, 1], 7)
    [3, 2, 2]
    """
    weights = np.asarray(repeats, dtype=np.float64)
    exact = weights * total / weights.sum()
    scaled = np.floor(exact + 1e-9).astype(int)
    first = np.argsort(scaled - exact, kind="stable")[: total - int(scaled.sum())]
    scaled[first] += 1
    return scaled.tolist()


def balance_regularisation(repeats: Sequence[int], total: int) -> list[int]:
    """Repeats of regularisation images to match `total` training images in an epoch, by kohya's rule.

    Images are taken with their stated repeats until the total is reached; those left over are not used (0). If all
    of them do not reach it, each in turn is repeated once more until they do.

    >>> balance_regularisation([1, 1, 1], 7), balance_regularisation([2, 2, 2], 3)
    ([3, 2, 2], [2, 2, 0])
    """
    balanced = [0] * len(repeats)
    if not balanced:
        return balanced
    reached = 0
    for position, count in enumerate(repeats):
        if reached >= total:
            return balanced
        balanced[position], reached = count, reached + count
    whole, rest = divmod(max(0, total - reached), len(repeats))
    return [count + whole + (position < rest) for position, count in enumerate(balanced)]
