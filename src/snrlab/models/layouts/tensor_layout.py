"""How a tensor of a single file maps to tensors of a network, in both directions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Form = Literal["same", "transposed", "convolution"]


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a single file and the network tensors that it stores.

    Attributes:
        name: name in the file.
        parts: names in the network; several are stacked along the first dimension (q, k, v).
        form: how the file's matrix is derived from the network's.
    """

    name: str
    parts: tuple[str, ...]
    form: Form = "same"

    def split(self, tensor: Tensor) -> dict[str, Tensor]:
        """The network's tensors, as views of the file's tensor."""
        if self.form == "transposed":
            tensor = tensor.T
        elif self.form == "convolution":
            tensor = tensor.flatten(1)
        return dict(zip(self.parts, tensor.chunk(len(self.parts)) if len(self.parts) > 1 else [tensor], strict=True))

    def join(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The file's tensor, built from the network's."""
        parts = [tensors[part] for part in self.parts]
        tensor = torch.cat(parts) if len(parts) > 1 else parts[0]
        if self.form == "transposed":
            return tensor.T.contiguous()
        return tensor[:, :, None, None] if self.form == "convolution" else tensor
