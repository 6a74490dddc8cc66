"""Merging a LoRA into a model's weights, which gives the same pictures without an adapter."""

from __future__ import annotations

import torch
from torch import nn

from snrlab.core.errors import UserError
from snrlab.models.components import Components
from snrlab.models.lora.lora_file import Lora


@torch.no_grad()
def merge_lora(components: Components, lora: Lora, strength: float = 1.0, *, name: str = "the LoRA") -> None:
    """Merge a LoRA into the weights in place, computed in fp32 and stored in each weight's number format.

    Args:
        components: the model.
        lora: the LoRA's adapters.
        strength: factor on the change; 0 leaves the model as it is.
        name: name of the LoRA, for messages.

    Raises:
        UserError: it does not fit the model, of which nothing has been changed.
    """
    layers: dict[str, nn.Linear | nn.Conv2d] = {}
    for path in lora:
        layer = find_layer(components, path)
        if layer is None:
            raise UserError(
                f"{name} does not fit {components.label}, which has no {path}. Was it trained on another family?",
                code="does-not-fit-model",
            )
        layers[path] = layer
    for path, layer in layers.items():
        weight = tuple(layer.weight.shape)
        if lora[path].shape != (weight[:2] if weight[2:] == (1, 1) else weight):
            raise UserError(
                f"{name} does not fit {components.label}: its update of {path} is {list(lora[path].shape)}, the weight "
                f"{list(weight)}. It was trained on another family.",
                code="does-not-fit-model",
            )
    for path, layer in layers.items():
        layer.weight = nn.Parameter(lora[path].merged(layer.weight.data, strength), requires_grad=False)


def find_layer(components: Components, path: str) -> nn.Linear | nn.Conv2d | None:
    """The layer with this path, or None; transformers 5 dropped the level `text_model` from one text encoder."""
    part, _, name = path.partition(".")
    network = components.networks.get(part)
    for attempt in (name, name.removeprefix("text_model.")):
        try:
            layer = network.get_submodule(attempt) if network is not None else None
        except AttributeError:
            continue
        if isinstance(layer, nn.Linear | nn.Conv2d):
            return layer
    return None
