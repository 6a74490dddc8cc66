"""One picture at several noise levels, drawn along the SNR axis of a graph: what the numbers below look like."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import numpy as np
from matplotlib.image import imread

from snrlab.core.arrays import Array
from snrlab.lab.asset_files import read_binary_asset

STRIP_HEIGHT = 0.62  # inches that a strip adds to a figure
_SIZE = 0.5  # inches of a picture
_APART = 0.78  # inches from one picture to the next, at least
_PLOT = 0.72  # part of a figure's width that is left for its graph, beside labels
_ABOVE = 1.14  # lower edge in heights of the graph, above the labels of the timesteps
_PICTURE = "apple.png"  # concept `red apple` of the Noto emoji that ship


def noisy_picture(snr: float, *, seed: int = 0) -> Array:
    """The picture at a noise level: x_t of its pixels in [-1, 1], back in [0, 1]; float64 [64, 64, 3].

    Args:
        snr: signal-to-noise ratio, >= 0.
        seed: seed of the noise, which has one standard normal value for each number of the picture.
    """
    clean = 2 * _picture() - 1
    noise = np.random.default_rng(seed).standard_normal(clean.shape)
    x_t = np.sqrt(snr / (1 + snr)) * clean + np.sqrt(1 / (1 + snr)) * noise
    return np.clip(x_t / 2 + 0.5, 0, 1)


def draw_noise_strip(axes: Any, inches: float, height: float = 2.2) -> None:
    """Draw the picture above a graph at evenly spaced places of its log-SNR axis, each as noisy as its place says.

    Args:
        axes: matplotlib axes over log-SNR, with their horizontal limits set.
        inches: width of the graph with its labels.
        height: height of the graph.
    """
    width = _PLOT * inches
    count = max(2, int(width / _APART))
    left, right = axes.get_xlim()
    for place in (np.arange(count) + 0.5) / count:
        level = left + place * (right - left)
        frame = axes.inset_axes((place - _SIZE / width / 2, _ABOVE, _SIZE / width, _SIZE / height))
        frame.imshow(noisy_picture(float(np.exp(level))), interpolation="none")
        frame.set_axis_off()


@cache
def _picture() -> Array:
    pixels: Array = imread(io.BytesIO(read_binary_asset(_PICTURE)), format="png").astype(np.float64)
    return pixels
