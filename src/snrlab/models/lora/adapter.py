"""What a LoRA does to one layer."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Adapter:
    """A low-rank update of a layer's weight.

    update = alpha / rank * up @ down
    merged = W + update                          without magnitude
             magnitude * (W + update) / |W + update|     with one: DoRA

    Attributes:
        down: [rank, in], of a convolution [rank, in, h, w].
        up: [out, rank], of a convolution [out, rank, 1, 1].
        alpha: scales the update.
        magnitude: length of every row of the weight [out, 1] (of a convolution [out, 1, 1, 1]), as peft and LyCORIS
            have it; or, from older programs, of every column [1, in].
    """

    down: Tensor
    up: Tensor
    alpha: float
    magnitude: Tensor | None = None

    @property
    def rank(self) -> int:
        """Rank of the update."""
        return self.down.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight that it is of; a convolution of 1 x 1 is a matrix."""
        shape = (self.up.shape[0], *self.down.shape[1:])
        return shape[:2] if shape[2:] == (1, 1) else shape

    def update(self) -> Tensor:
        """What is added to the weight, in fp32: [out, in] or [out, in, h, w]."""
        down, up = self.down.float(), self.up.float()
        product = up.flatten(1) @ down.flatten(1)
        return product.reshape(up.shape[0], *down.shape[1:]) * (self.alpha / self.rank)

    def with_alpha(self, alpha: float) -> Adapter:
        """The same update with another alpha: the up matrix makes up for it."""
        return self if alpha == self.alpha else replace(self, up=self.up.float() * (self.alpha / alpha), alpha=alpha)

    def merged(self, weight: Tensor, strength: float = 1.0) -> Tensor:
        """The layer's weight with the adapter in it, computed in fp32 and returned in the weight's number format.

        The strength weighs the whole change, DoRA's new lengths included, so that 0 is the base.
        """
        base, update = weight.float(), self.update().to(weight.device)
        if self.magnitude is None:
            return (base + strength * update.reshape(base.shape)).to(weight.dtype)
        whole = base + update.reshape(base.shape)
        magnitude = self.magnitude.to(whole)
        lengths = _row_lengths(whole) if magnitude.shape[0] == whole.shape[0] else _column_lengths(whole)
        return torch.lerp(base, magnitude.reshape(lengths.shape) * whole / lengths, strength).to(weight.dtype)


def _row_lengths(weight: Tensor) -> Tensor:
    return torch.linalg.vector_norm(weight, dim=tuple(range(1, weight.ndim)), keepdim=True)


def _column_lengths(weight: Tensor) -> Tensor:
    return torch.linalg.vector_norm(weight, dim=(0, *range(2, weight.ndim)), keepdim=True)
