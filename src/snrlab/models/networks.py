"""Networks built from their config and from tensors on disk, without initialising random weights first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors import safe_open
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection
from transformers.initialization import no_init_weights

from snrlab.core.errors import UserError
from snrlab.model_files.header import Header
from snrlab.models.pixels import PixelIdentity

if TYPE_CHECKING:
    from snrlab.models.components import Network


def empty_network(part: str, config: Mapping[str, Any]) -> Network:
    """A network whose weights have shapes but no memory; `part` is the name of its folder."""
    with init_empty_weights(include_buffers=False), no_init_weights():
        match part:
            case "unet":
                return UNet2DConditionModel.from_config(dict(config))
            case "vae" if config.get("_class_name") == "PixelIdentity":
                return PixelIdentity.from_config(dict(config))
            case "vae":
                return AutoencoderKL.from_config(dict(config))
            case "text_encoder":
                return CLIPTextModel(CLIPTextConfig(**config))
            case "text_encoder_2":
                return CLIPTextModelWithProjection(CLIPTextConfig(**config))
    raise ValueError(part)


def assign_weights(network: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Assign weights to an empty network; the tensors are used as they are, not copied."""
    network.load_state_dict(tensors, strict=True, assign=True)
    return network.eval()


class TensorFile:
    """The tensors of a safetensors file, mapped into memory: only what is used is read."""

    def __init__(self, header: Header, file: Any) -> None:
        """Wrap an open file."""
        self.header = header
        self._file = file

    def read(self, name: str, dtype: torch.dtype | None) -> Tensor:
        """A tensor in the given number format; None keeps the file's, and the tensor then stays mapped."""
        tensor = self._file.get_tensor(name)
        return tensor if dtype is None or not tensor.is_floating_point() else tensor.to(dtype)


@contextmanager
def open_tensors(header: Header) -> Iterator[TensorFile]:
    """Context with the tensors of a file whose header has been read."""
    with safe_open(str(header.path), framework="pt") as file:
        yield TensorFile(header, file)


def fit_shape(tensor: Tensor, shape: tuple[int, ...], name: str, where: str) -> Tensor:
    """A tensor in the required shape; a matrix and a 1x1 convolution are interchangeable.

    Raises:
        UserError: the shapes differ.
    """
    if tuple(tensor.shape) == tuple(shape):
        return tensor
    if _strip_trailing_ones(tuple(tensor.shape)) == _strip_trailing_ones(tuple(shape)):
        return tensor.reshape(shape)
    raise UserError(
        f"{where}: the tensor {name} has the shape {list(tensor.shape)}, where the model's config asks for "
        f"{list(shape)}. It is a pruned or changed architecture, or another model's.",
        code="does-not-fit-model",
    )


def _strip_trailing_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    while len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    return shape
