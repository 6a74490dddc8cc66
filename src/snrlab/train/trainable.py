"""Which weights a run trains."""

from __future__ import annotations

import torch
from torch import nn

from snrlab.config.run import RunConfig
from snrlab.models.components import Components
from snrlab.models.lora import add_lora, lora_parameters


def trainable(config: RunConfig, components: Components) -> dict[str, nn.Parameter]:
    """The weights to train by name, in a fixed order; a LoRA is put on the networks first."""
    train = config.train
    if train.method == "lora":
        alpha = config.lora.alpha or float(config.lora.rank)
        if config.model.precision == "bf16":
            components.unet.to(torch.bfloat16)
        rank, layers = config.lora.rank, config.lora.layers
        add_lora(components, rank=rank, alpha=alpha, layers=layers, text_encoder=train.text_encoder, seed=config.seed)
        return dict(lora_parameters(components))
    found = {f"unet.{n}": p for n, p in components.unet.named_parameters()}
    if train.text_encoder:
        found |= {f"text_encoder.{n}": p for n, p in components.text_encoder.named_parameters()}
    for parameter in found.values():
        parameter.requires_grad_(True)
    return found
