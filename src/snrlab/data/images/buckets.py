"""Aspect-ratio buckets: the size that an image is trained at, by kohya's rule.

Sizes are (width, height) in pixels. Reproduces `library/model_util.py` and `BucketManager` of `library/train_util.py`
in kohya-ss/sd-scripts, commit 48d368f, to the pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from snrlab.core.errors import UserError
from snrlab.data.items import BucketRule

PixelSize = tuple[int, int]


@dataclass(frozen=True)
class Fit:
    """Fit of an image to its training size: scaled to `scaled`, from which a window of size `target` is cropped.

    Attributes:
        target: size of the window, which the network sees.
        scaled: size after scaling; covers the window, so nothing is ever padded.
        exact: whether a centre crop keeps the image's aspect ratio to a fraction of a pixel.
    """

    target: PixelSize
    scaled: PixelSize
    exact: bool = False

    @property
    def slack(self) -> PixelSize:
        """Pixels cropped in total, horizontally and vertically."""
        return self.scaled[0] - self.target[0], self.scaled[1] - self.target[1]

    @property
    def middle(self) -> PixelSize:
        """Left and top of the centre crop."""
        return self.slack[0] // 2, self.slack[1] // 2


@lru_cache(maxsize=16)
def bucket_sizes(resolution: PixelSize, rule: BucketRule) -> tuple[PixelSize, ...]:
    """Bucket sizes for images that may be enlarged, sorted.

    >>> bucket_sizes((192, 192), BucketRule(smallest=128, largest=256))
    ((128, 256), (192, 192), (256, 128))

    Raises:
        UserError: a side of the resolution lies outside the bounds.
    """
    step = rule.multiple
    smallest, largest = rule.smallest // step * step, -(-rule.largest // step) * step
    if not smallest <= min(resolution) <= max(resolution) <= largest:
        raise UserError(
            f"the resolution {resolution[0]}x{resolution[1]} has a side outside the buckets' bounds, "
            f"{smallest} to {largest} pixels.",
            code="wrong-size",
        )
    area = resolution[0] * resolution[1]
    side = int(math.sqrt(area) // step) * step
    sizes = {(side, side)}
    for width in range(smallest or step, largest + 1, step):
        height = min(largest, area // width // step * step)
        if height >= max(smallest, step):
            sizes |= {(width, height), (height, width)}
    return tuple(sorted(sizes))


def fit(size: PixelSize, resolution: PixelSize, rule: BucketRule | None) -> Fit:
    """Fit an image to its training size.

    Args:
        size: of the image.
        resolution: size of every image without buckets; with buckets, its area is the target area.
        rule: the bucket rule; None without buckets.

    Raises:
        UserError: enlarging is not allowed, and the image is too small or too narrow for any bucket.
    """
    if rule is None:
        return Fit(resolution, _cover(size, resolution), exact=True)
    if rule.upscale:
        target = _nearest(size, bucket_sizes(resolution, rule))
        return Fit(target, _cover(size, target))
    scaled = _shrunk(size, resolution[0] * resolution[1], rule.multiple)
    target = (scaled[0] - scaled[0] % rule.multiple, scaled[1] - scaled[1] % rule.multiple)
    if min(target) == 0:
        raise UserError(
            f"the image is {size[0]}x{size[1]}, and without enlarging it no bucket with sides that are multiples of "
            f"{rule.multiple} fits into it. Allow upscaling, or leave the image out.",
            code="wrong-size",
        )
    return Fit(target, scaled)


def _nearest(size: PixelSize, buckets: tuple[PixelSize, ...]) -> PixelSize:
    """Bucket of exactly the image's size, else of the nearest aspect ratio (width / height); the first of equals."""
    if size in buckets:
        return size
    ratios = np.array([width / height for width, height in buckets])
    return buckets[int(np.abs(ratios - size[0] / size[1]).argmin())]


def _cover(size: PixelSize, target: PixelSize) -> PixelSize:
    """Size of the image scaled to just cover the target."""
    wider = size[0] / size[1] > target[0] / target[1]
    scale = target[1] / size[1] if wider else target[0] / size[0]
    return int(size[0] * scale + 0.5), int(size[1] * scale + 0.5)


def _shrunk(size: PixelSize, area: int, multiple: int) -> PixelSize:
    """Size of the image, scaled down to about the area if it is larger, such that one side is a multiple.

    That side is made a multiple whose rounding keeps the aspect ratio better.
    """
    if size[0] * size[1] <= area:
        return size
    ratio = size[0] / size[1]
    ideal = math.sqrt(area * ratio)

    def rounded(x: float) -> int:
        return int(x + 0.5) // multiple * multiple

    width = rounded(ideal)
    height = rounded(area / ideal)
    by_width = (width, rounded(width / ratio))
    by_height = (rounded(height * ratio), height)
    if _ratio_error(by_width, ratio) < _ratio_error(by_height, ratio):
        return width, int(width / ratio + 0.5)
    return int(height * ratio + 0.5), height


def _ratio_error(size: PixelSize, ratio: float) -> float:
    return abs(size[0] / size[1] - ratio) if size[1] else math.inf
