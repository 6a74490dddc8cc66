"""Styles that are computed from the Noto pictures: nothing more is shipped, and every concept has its true picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

_BLUE, _PAPER = (28, 52, 140), (255, 255, 255)
_LUMA = np.array((0.299, 0.587, 0.114), np.float32)  # ITU-R BT.601


def pencil(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Drawings in blue pencil on white: lines where colours change, shading where a picture is dark.

    Args:
        images: pictures on white, uint8 [N, H, W, 3].

    >>> pencil(np.full((1, 8, 8, 3), 255, np.uint8)).min()
    np.uint8(255)
    """
    pressure = np.clip(0.9 * edges(images) + 0.35 * (1 - lightness(images)), 0, 1)[..., None]
    drawn = (1 - pressure) * np.array(_PAPER, np.float32) + pressure * np.array(_BLUE, np.float32)
    return np.asarray(drawn.round().astype(np.uint8))


def lightness(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Lightness of each pixel from 0 (black) to 1 (white): [N, H, W]."""
    return np.asarray(images.astype(np.float32) @ _LUMA / 255)


def edges(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How strongly the colour changes at each pixel, 0 to 1, by central differences: [N, H, W]."""
    colours = images.astype(np.float32) / 255
    across, down = np.zeros_like(colours), np.zeros_like(colours)
    across[:, :, 1:-1] = colours[:, :, 2:] - colours[:, :, :-2]
    down[:, 1:-1] = colours[:, 2:] - colours[:, :-2]
    return np.clip(1.2 * np.sqrt(across**2 + down**2).max(-1), 0, 1)


COMPUTED_STYLES: Mapping[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {"pencil": pencil}
