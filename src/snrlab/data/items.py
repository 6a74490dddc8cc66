"""Images as a run means to use them, before any is decoded: what discovery finds and training serves."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class CaptionRule:
    """What a caption becomes at a step, in this order.

    Attributes:
        wildcard: a caption file's lines are alternatives, `{a|b}` is one of its parts.
        prefix: goes before, suffix after.
        dropout: part of the captions replaced by the empty one; dropout_every: every so many epochs all are.
        separator: between tags; secondary_separator: joins tags that stay together.
        keep_tokens: tags at the start that stay; keep_separator: instead of a number, what ends them.
        shuffle: put the other tags in random order; tag_dropout: leave out part of them.
        warmup_min: number of tags shown at first, rising to all after warmup_steps; below 1 these are a part of the
            run, 0 is off.
    """

    wildcard: bool = False
    prefix: str = ""
    suffix: str = ""
    dropout: float = 0.0
    dropout_every: int = 0
    separator: str = ","
    secondary_separator: str | None = None
    keep_tokens: int = 1
    keep_separator: str | None = None
    shuffle: bool = False
    tag_dropout: float = 0.0
    warmup_min: int = 1
    warmup_steps: float = 0

    @property
    def moves_tags(self) -> bool:
        """Whether a caption is taken apart into tags."""
        return self.shuffle or self.tag_dropout > 0 or self.warmup_steps > 0

    @property
    def varies(self) -> bool:
        """Whether a caption is another text at other steps (dropping it whole does not count)."""
        return self.wildcard or self.moves_tags


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
    """One set of images and what it does with them.

    Attributes:
        resolution: width and height in pixels; with buckets their product is the area aimed at.
        buckets: None scales and crops every image to `resolution`.
        repeats: how often an image is meant to be seen in an epoch; an item's own number says how often it is.
        flip: mirror half of the time; random_crop: crop anywhere instead of in the middle.
        captions: what becomes of its captions.
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
    captions: CaptionRule = field(default_factory=CaptionRule)
    regularisation: bool = False
    importance: float = 1.0
    alpha_mask: bool = False


@dataclass(frozen=True, eq=False)
class Item:
    """One image.

    Attributes:
        name: file name or code point, for messages; never a path.
        file: where it is, or None for a shipped picture, whose `pixels` [H, W, 3] are here.
        size: width and height, after EXIF rotation.
        captions: its caption, or the alternatives where a rule has wildcards.
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
