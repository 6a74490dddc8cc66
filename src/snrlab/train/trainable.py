"""Which weights a run trains, and at which rate."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from snrlab.config.run import RunConfig
from snrlab.models.components import Components
from snrlab.models.lora import add_lora, lora_parameters


@dataclass(frozen=True, eq=False)
class Trainable:
    """The weights to train by name, in a fixed order, and the learning rate of each after warm-up."""

    parameters: dict[str, nn.Parameter]
    rates: dict[str, float]


def trainable(config: RunConfig, components: Components) -> Trainable:
    """The weights that a run trains; a LoRA is put on the networks first."""
    train = config.train
    if train.method == "lora":
        alpha = config.lora.alpha or float(config.lora.rank)
        if config.model.precision == "bf16":
            components.unet.to(torch.bfloat16)
        rank, layers = config.lora.rank, config.lora.layers
        add_lora(components, rank=rank, alpha=alpha, layers=layers, text_encoder=train.text_encoder, seed=config.seed)
        parameters = dict(lora_parameters(components))
    else:
        parts = ["unet"] + (["text_encoder"] if train.text_encoder else [])
        parameters = {f"{part}.{n}": p for part in parts for n, p in components.networks[part].named_parameters()}
        for parameter in parameters.values():
            parameter.requires_grad_(True)
    return Trainable(parameters, dict.fromkeys(parameters, train.learning_rate))
