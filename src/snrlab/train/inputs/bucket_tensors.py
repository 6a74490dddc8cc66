"""Buckets: the images of a run by size, and the tensors of each size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snrlab.core.errors import UserError
from snrlab.data.images.buckets import Fit, PixelSize, fit
from snrlab.data.images.pixels import size_facts
from snrlab.data.items import Item
from snrlab.models.components import Components


@dataclass(frozen=True, eq=False)
class Bucket:
    """The images of one size.

    Attributes:
        size: width and height in pixels.
        members: indices of the images among all of the run.
        fits: how each image is scaled and cropped to the size.
        flips: which images are mirrored half of the time [n].
        crops: which images are cropped at random, and so encoded at every step [n].
        latents: [n, C, h, w]; rows of randomly cropped images are not used.
        mirrored: latents of the mirrored images, or None where none is mirrored.
        masks: weights of the error [n, 1, h, w] in 0..1, or None where no image has a mask.
        sizes: SDXL's size and crop conditions of each image, plain and mirrored [2, n, 6].
        importance: factors on the losses [n].
    """

    size: PixelSize
    members: NDArray[np.int64]
    fits: tuple[Fit, ...]
    flips: NDArray[np.bool_]
    crops: NDArray[np.bool_]
    latents: Tensor
    mirrored: Tensor | None
    masks: Tensor | None
    sizes: Tensor
    importance: Tensor

    @property
    def bytes(self) -> int:
        """Bytes of the large tensors."""
        tensors = (t for t in (self.latents, self.mirrored, self.masks) if t is not None)
        return sum(t.numel() * t.element_size() for t in tensors)

    def to(self, device: torch.device) -> Bucket:
        """The same bucket with its large tensors on a device."""
        names = ("latents", "mirrored", "masks")
        return replace(self, **{n: t.to(device) for n in names if (t := getattr(self, n)) is not None})


@dataclass(frozen=True, eq=False)
class BucketSlot:
    """The row of an image in its bucket."""

    item: Item
    fit: Fit
    bucket: Bucket
    row: int

    @property
    def tensor_names(self) -> list[str]:
        """Names of the bucket's tensors that are computed once for this image."""
        if self.item.part.random_crop:
            return []
        return ["latents"] + ["mirrored"] * self.item.part.flip + ["masks"] * has_mask(self.item)

    def put(self, name: str, value: Tensor) -> None:
        """Write the image's row of a tensor.

        Raises:
            UserError: a mask that is black everywhere, or latents that are not finite.
        """
        if not value.isfinite().all():
            raise UserError(
                f"the {name} of {self.item.name} are not finite: the autoencoder needs more precision than its weights "
                "have or is damaged, and model.vae can set another one; or the cache that they come from is damaged.",
                code="not-finite",
            )
        if name == "masks" and not float(value.max()):
            raise UserError(
                f"the mask of {self.item.name} is black wherever the image is used: nothing of it would be trained.",
                code="invalid-mask",
            )
        getattr(self.bucket, name)[self.row] = value


def has_mask(item: Item) -> bool:
    """Whether an image has a mask, in a file or as its alpha channel."""
    return item.mask is not None or item.part.alpha_mask


def bucket_slots(components: Components, items: Sequence[Item]) -> list[BucketSlot]:
    """Assign each image a row in the bucket of its size; slots are in the order of the buckets."""
    fits = [_fit_item(item, components.latent_factor) for item in items]
    slots: list[BucketSlot] = []
    for size in sorted({f.target for f in fits}):
        members = [i for i, f in enumerate(fits) if f.target == size]
        bucket = _empty_bucket(components, size, members, items, fits)
        slots += [BucketSlot(items[i], fits[i], bucket, row) for row, i in enumerate(members)]
    return slots


def _fit_item(item: Item, factor: int) -> Fit:
    try:
        target_fit = fit(item.size, item.part.resolution, item.part.buckets)
    except UserError as reason:
        raise UserError(f"{item.name}: {reason}", code=reason.code) from None
    if any(side % factor for side in target_fit.target):
        width, height = target_fit.target
        field = "data.bucket_step" if item.part.buckets else "data.resolution"
        raise UserError(
            f"{field}: images of {width}x{height}, but this model needs sides that are multiples of {factor}.",
            code="wrong-size",
        )
    return target_fit


def _empty_bucket(
    components: Components, size: PixelSize, members: list[int], items: Sequence[Item], fits: Sequence[Fit]
) -> Bucket:
    parts, factor = [items[i].part for i in members], components.latent_factor
    flips, crops = (np.array([getattr(p, name) for p in parts]) for name in ("flip", "random_crop"))
    plane = (size[1] // factor, size[0] // factor)
    shape = (len(members), components.vae.config.latent_channels, *plane)
    size_conditions = [[size_facts(items[i].size, fits[i], mirrored=m) for i in members] for m in (False, True)]
    return Bucket(
        size=size,
        members=np.array(members),
        fits=tuple(fits[i] for i in members),
        flips=flips,
        crops=crops,
        latents=torch.zeros(shape),
        mirrored=torch.zeros(shape) if (flips & ~crops).any() else None,
        masks=torch.ones(len(members), 1, *plane) if any(has_mask(items[i]) for i in members) else None,
        sizes=torch.tensor(size_conditions, dtype=torch.float32),
        importance=torch.tensor([p.importance for p in parts], dtype=torch.float32),
    )
