"""What a tensor of a single file holds of a network, and the way there and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Form = Literal["same", "transposed", "convolution"]


@dataclass(frozen=True)
class Stored:
    """A tensor of a single file, and what it holds of a network.

    Attributes:
        name: in the file.
        parts: in the network; several lie one below the other (q, k, v).
        form: how the file's matrix follows from the network's.
    """

    name: str
    parts: tuple[str, ...]
    form: Form = "same"

    def split(self, tensor: Tensor) -> dict[str, Tensor]:
        """The network's tensors, views of the file's."""
        if self.form == "transposed":
            tensor = tensor.T
        elif self.form == "convolution":
            tensor = tensor.flatten(1)
        return dict(zip(self.parts, tensor.chunk(len(self.parts)) if len(self.parts) > 1 else [tensor], strict=True))

    def join(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The file's tensor, from the network's."""
        found = [tensors[part] for part in self.parts]
        tensor = torch.cat(found) if len(found) > 1 else found[0]
        if self.form == "transposed":
            return tensor.T.contiguous()
        return tensor[:, :, None, None] if self.form == "convolution" else tensor
