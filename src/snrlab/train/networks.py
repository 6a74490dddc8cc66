"""How the networks of a run are kept in memory: number format of trained weights, activations kept or made again."""

from __future__ import annotations

import torch
from torch import nn

from snrlab.config.run import RunConfig
from snrlab.models.components import Components


def set_up_networks(config: RunConfig, components: Components) -> None:
    """Bring the networks into the form that [train] asks for, in place, before anything is made trainable."""
    train = config.train
    for name, network in components.networks.items():
        if train.weights == "bf16" and name in train.parts:
            nn.Module.to(network, torch.bfloat16)
        if train.gradient_checkpointing and (name in train.parts or name == "unet"):  # gradients pass through it
            _checkpoint(network)


def _checkpoint(network: nn.Module) -> None:
    """Make activations again in the backward pass."""
    if enable := getattr(network, "enable_gradient_checkpointing", None):  # diffusers
        enable()
        return
    # transformers, which renamed the method within version 5, and does so in training mode only
    enable = getattr(network, "activation_checkpointing_enable", None) or network.gradient_checkpointing_enable
    enable()  # type: ignore[operator]  # mypy takes every attribute of a module for a tensor
    network.train()
