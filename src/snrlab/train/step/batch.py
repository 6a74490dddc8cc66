"""The batch that one forward pass takes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from snrlab.models.encoding.encode import TextEmbeddings


@dataclass(frozen=True, eq=False)
class Batch:
    """Examples of one size, on the training device.

    Attributes:
        x0: clean latents [B, C, h, w].
        text: embeddings of the captions [B, L, D].
        sizes: SDXL's size and crop conditions [B, 6], in pixels; None for other families.
        mask: weights of the error [B, 1, h, w] in 0..1; None is 1 everywhere.
        importance: weight of each example in the loss [B]; None is 1 for all.
    """

    x0: Tensor
    text: TextEmbeddings
    sizes: Tensor | None = None
    mask: Tensor | None = None
    importance: Tensor | None = None
