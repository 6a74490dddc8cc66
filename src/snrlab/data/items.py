"""Images of a run before any is decoded: the sets they belong to, and each with its captions and repeats."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snrlab.config.sections.captions import CaptionOptions


@dataclass(frozen=True)
class BucketRule:
    """Which sizes images of other aspect ratios are scaled to (kohya's numbers).

    Attributes:
        smallest, largest: bounds of a side in pixels.
        multiple: sides are multiples of it.
        upscale: images may be enlarged.
    """

    smallest: int = 256
    largest: int = 1024
    multiple: int = 64
    upscale: bool = True


@dataclass(frozen=True)
class DataSet:
    """A set of images and the options that its images share.

    Attributes:
        resolution: width and height in pixels; with buckets their product is the area aimed at.
        buckets: None scales and crops every image to `resolution`.
        repeats: how often an image is meant to be seen in an epoch; an item's own number says how often it is.
        flip: mirror half of the time; random_crop: crop anywhere instead of in the middle.
        captions: what its captions become at a training step.
        regularisation: whether these are class images that keep the model as it was.
        importance: factor on the loss of its images.
        alpha_mask: an image's transparency says where the error counts.
    """

    name: str
    resolution: tuple[int, int]
    buckets: BucketRule | None = None
    repeats: int = 1
    flip: bool = False
    random_crop: bool = False
    captions: CaptionOptions = field(default_factory=CaptionOptions)
    regularisation: bool = False
    importance: float = 1.0
    alpha_mask: bool = False


@dataclass(frozen=True, eq=False)
class Item:
    """One image.

    Attributes:
        name: file name or code point, for messages; never a path.
        file: its path, or None for a shipped image, whose `pixels` [H, W, 3] are held in memory.
        size: width and height, after EXIF rotation.
        captions: its caption, or the alternatives where its set has wildcards.
        mask: an image whose brightness says where the error counts, or None.
        repeats: how often it is seen in an epoch, after the shares of the sets and of regularisation are settled.
    """

    name: str
    file: Path | None
    pixels: NDArray[np.uint8] | None
    size: tuple[int, int]
    captions: tuple[str, ...]
    part: DataSet
    mask: Path | None = None
    repeats: int = 1
