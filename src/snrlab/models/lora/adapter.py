"""A LoRA adapter: the low-rank update of one layer, with or without DoRA's magnitude."""

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
        alpha: scale of the update, relative to the rank.
        magnitude: norm of every row of the weight [out, 1] (of a convolution [out, 1, 1, 1]), as in peft and LyCORIS;
            or, from older programs, of every column [1, in].
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
        """Shape of the weight that it updates; a 1 x 1 convolution counts as a matrix."""
        shape = (self.up.shape[0], *self.down.shape[1:])
        return shape[:2] if shape[2:] == (1, 1) else shape

    def update(self) -> Tensor:
        """The update added to the weight, in fp32: [out, in] or [out, in, h, w]."""
        down, up = self.down.float(), self.up.float()
        product = up.flatten(1) @ down.flatten(1)
        return product.reshape(up.shape[0], *down.shape[1:]) * (self.alpha / self.rank)

    def with_alpha(self, alpha: float) -> Adapter:
        """The same update with another alpha: the up matrix is rescaled to compensate."""
        return self if alpha == self.alpha else replace(self, up=self.up.float() * (self.alpha / alpha), alpha=alpha)

    def merged(self, weight: Tensor, strength: float = 1.0) -> Tensor:
        """The layer's weight with the adapter merged, computed in fp32 and returned in the weight's number format.

        The strength scales the whole change, DoRA's new norms included, so that 0 gives the base weight.
        """
        base, update = weight.float(), self.update().to(weight.device)
        if self.magnitude is None:
            return (base + strength * update.reshape(base.shape)).to(weight.dtype)
        updated = base + update.reshape(base.shape)
        magnitude = self.magnitude.to(updated)
        norms = _row_norms(updated) if magnitude.shape[0] == updated.shape[0] else _column_norms(updated)
        return torch.lerp(base, magnitude.reshape(norms.shape) * updated / norms, strength).to(weight.dtype)


def _row_norms(weight: Tensor) -> Tensor:
    return torch.linalg.vector_norm(weight, dim=tuple(range(1, weight.ndim)), keepdim=True)


def _column_norms(weight: Tensor) -> Tensor:
    return torch.linalg.vector_norm(weight, dim=(0, *range(2, weight.ndim)), keepdim=True)
