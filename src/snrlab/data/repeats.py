"""How often each image is seen in an epoch: shares of sets, and regularisation images beside the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def shared(counts: Sequence[int], ratios: Sequence[float]) -> list[int]:
    """Pictures that each set shows in an epoch: in these shares, no set fewer than it has.

    Args:
        counts: images x repeats of each set, >= 1.
        ratios: shares that sum to 1.

    >>> shared([10, 1000], [0.5, 0.5])
    [1000, 1000]
    """
    total = max(count / ratio for count, ratio in zip(counts, ratios, strict=True))
    return [max(count, round(total * ratio)) for count, ratio in zip(counts, ratios, strict=True)]


def spread(repeats: Sequence[int], total: int) -> list[int]:
    """The repeats of images scaled up so that they sum to `total`; the first ones are seen once more than the others.

    >>> spread([1, 1, 1], 7)
    [3, 2, 2]
    """
    weights = np.asarray(repeats, dtype=np.float64)
    exact = weights * total / weights.sum()
    found = np.floor(exact + 1e-9).astype(int)
    rest = np.argsort(found - exact, kind="stable")[: total - int(found.sum())]
    found[rest] += 1
    return found.tolist()


def balanced(repeats: Sequence[int], total: int) -> list[int]:
    """Repeats of regularisation images for `total` pictures of the others in an epoch, as kohya counts them.

    Images are taken with their own repeats until the total is reached, so that those left over are not used (0); if it
    is not, each is seen once more in turn until it is.

    >>> balanced([1, 1, 1], 7), balanced([2, 2, 2], 3)
    ([3, 2, 2], [2, 2, 0])
    """
    found = [0] * len(repeats)
    if not found:
        return found
    seen = 0
    for place, own in enumerate(repeats):
        if seen >= total:
            return found
        found[place], seen = own, seen + own
    whole, rest = divmod(max(0, total - seen), len(repeats))
    return [own + whole + (place < rest) for place, own in enumerate(found)]
