"""Random crops: a new window of an image at every step, encoded in that step."""

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

_KEPT_BYTES = 2**30  # bytes of scaled images that are kept; the others are decoded at every step


@dataclass(frozen=True, eq=False)
class Crop:
    """A window of an image: its pixels, and SDXL's size and crop conditions."""

    view: View
    sizes: tuple[int, ...]

    def encoded(self, components: Components, device: torch.device) -> Tensor:
        """Latents [1, C, h, w]."""
        return encode_pixels(components, self.view.pixels[None], device)

    def mask(self, factor: int) -> Tensor:
        """Weights of the error in 0..1, at the size of the latents [1, h, w]."""
        mask = self.view.mask
        if mask is None:
            mask = np.ones(self.view.pixels.shape[:2], dtype=np.float32)
        return torch.from_numpy(to_latent_size(mask, factor))[None]


class RandomCrops:
    """Cuts windows out of scaled images, which it keeps in memory up to a limit."""

    def __init__(self) -> None:
        """Start with no image in memory."""
        self._held: dict[int, View] = {}  # by the item's id
        self._bytes = 0

    def of(self, item: Item, fit: Fit, position: NDArray[np.float64], mirrored: bool) -> Crop:
        """The window at `position`, two uniforms in [0, 1), across and down; all windows are equally likely."""
        left, top = (int(u * (slack + 1)) for u, slack in zip(position, fit.slack, strict=True))
        view = cut(self._scaled(item, fit), fit, (left, top))
        return Crop(view.mirrored if mirrored else view, size_facts(item.size, fit, (left, top), mirrored=mirrored))

    def _scaled(self, item: Item, fit: Fit) -> View:
        if id(item) in self._held:
            return self._held[id(item)]
        view = scaled(item, fit)
        size = view.pixels.nbytes + (0 if view.mask is None else view.mask.nbytes)
        if self._bytes + size <= _KEPT_BYTES:
            self._held[id(item)] = view
            self._bytes += size
        return view
