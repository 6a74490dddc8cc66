"""What a caption becomes at a training step."""

from __future__ import annotations

import numpy as np

SEPARATOR = ","


def vary(caption: str, rng: np.random.Generator, *, shuffle: bool, tag_dropout: float) -> str:
    """The caption with the tags after its first in another order, and each of them left out at a rate.

    >>> vary("red apple, fruit, food", np.random.default_rng(0), shuffle=False, tag_dropout=1.0)
    'red apple'
    """
    first, *tags = (tag.strip() for tag in caption.split(SEPARATOR))
    if shuffle:
        tags = [tags[i] for i in rng.permutation(len(tags))]
    kept = [tag for tag in tags if rng.random() >= tag_dropout]
    return f"{SEPARATOR} ".join((first, *kept))
