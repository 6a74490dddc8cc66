"""The palette of a picture, by which styles that the style classifier does not know are recognised."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from snrlab.data import emoji

_LEVELS = 6  # of each of red, green and blue


def palettes(pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Share of each of 216 colours among the pixels that are not white: [N, 216] for pictures uint8 [N, H, W, 3].

    >>> palettes(np.zeros((1, 4, 4, 3), np.uint8))[0, 0]
    np.float64(1.0)
    """
    red, green, blue = np.moveaxis(pictures.astype(np.int64) * _LEVELS // 256, -1, 0)
    colours = ((red * _LEVELS + green) * _LEVELS + blue).reshape(len(pictures), -1)
    counts = np.stack([np.bincount(row, minlength=_LEVELS**3) for row in colours]).astype(np.float64)
    counts[:, -1] = 0  # the white around everything says nothing
    return counts / np.maximum(counts.sum(1, keepdims=True), 1)


def has_palette_of(style: str, pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Whether the palette of each picture is nearer to the mean palette of `style` than to that of any other: [N].

    The distance is the L1 norm. Of the true pictures in `pencil` it recognises 100 %, of those in Noto it takes 10 %
    for pencil (a test holds both), so what the untrained model scores is shown beside every figure.
    """
    distances = np.stack([np.abs(palettes(pictures) - mean).sum(1) for mean in _mean_palettes()], 1)
    return np.asarray(distances.argmin(1) == emoji.styles().index(style)).astype(np.float64)


@cache
def _mean_palettes() -> tuple[NDArray[np.float64], ...]:
    return tuple(palettes(emoji.images(style)).mean(0) for style in emoji.styles())
