"""What one forward pass is given."""

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
        sizes: what SDXL is told about size and crop [B, 6], in pixels; None for other families.
        mask: where the error counts [B, 1, h, w] in 0..1; None is everywhere.
        importance: how much each example counts [B]; None is 1 for all.
    """

    x0: Tensor
    text: TextEmbeddings
    sizes: Tensor | None = None
    mask: Tensor | None = None
    importance: Tensor | None = None
