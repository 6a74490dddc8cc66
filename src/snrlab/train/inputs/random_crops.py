"""Images that are cut anywhere: a new window at every step, encoded then."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snrlab.data.images.buckets import Fit
from snrlab.data.images.pixels import View, cut, scaled, size_facts, to_latent_size
from snrlab.data.items import Item
from snrlab.models.components import Components
from snrlab.models.encoding.encode import encode_pixels

_KEPT = 2**30  # bytes of scaled images that are held; those beyond are decoded each time


@dataclass(frozen=True, eq=False)
class Crop:
    """A window of an image: its pixels, and what SDXL is told of it."""

    seen: View
    sizes: tuple[int, ...]

    def encoded(self, components: Components, device: torch.device) -> Tensor:
        """Latents [1, C, h, w]."""
        return encode_pixels(components, self.seen.pixels[None], device)

    def mask(self, factor: int) -> Tensor:
        """Where the error counts, at the size of the latents [1, h, w]."""
        counts = self.seen.mask
        if counts is None:
            counts = np.ones(self.seen.pixels.shape[:2], dtype=np.float32)
        return torch.from_numpy(to_latent_size(counts, factor))[None]


class RandomCrops:
    """Cuts windows out of scaled images, which it holds as far as there is room."""

    def __init__(self) -> None:
        """With none held."""
        self._held: dict[int, View] = {}  # by the item's id
        self._bytes = 0

    def of(self, item: Item, fit: Fit, drawn: NDArray[np.float64], mirrored: bool) -> Crop:
        """The window that two uniforms in [0, 1) say, across and down; every one is as likely."""
        left, top = (int(u * (slack + 1)) for u, slack in zip(drawn, fit.slack, strict=True))
        seen = cut(self._scaled(item, fit), fit, (left, top))
        return Crop(seen.mirrored if mirrored else seen, size_facts(item.size, fit, (left, top), mirrored=mirrored))

    def _scaled(self, item: Item, fit: Fit) -> View:
        if id(item) in self._held:
            return self._held[id(item)]
        found = scaled(item, fit)
        size = found.pixels.nbytes + (0 if found.mask is None else found.mask.nbytes)
        if self._bytes + size <= _KEPT:
            self._held[id(item)] = found
            self._bytes += size
        return found
