"""The networks of a run in memory: precision of the trained weights, and gradient checkpointing."""

from __future__ import annotations

import torch
from torch import nn

from snrlab.config.run import RunConfig
from snrlab.models.components import Components


def set_up_networks(config: RunConfig, components: Components) -> None:
    """Apply train.weights and train.gradient_checkpointing to the networks, in place, before any is trainable."""
    train = config.train
    for name, network in components.networks.items():
        if train.weights == "bf16" and name in train.parts:
            nn.Module.to(network, torch.bfloat16)
        if train.gradient_checkpointing and (name in train.parts or name == "unet"):  # gradients pass through it
            _enable_gradient_checkpointing(network)


def _enable_gradient_checkpointing(network: nn.Module) -> None:
    """Recompute activations in the backward pass instead of keeping them."""
    if enable := getattr(network, "enable_gradient_checkpointing", None):  # diffusers
        enable()
        return
    # transformers, which renamed the method within version 5, and does so in training mode only
    enable = getattr(network, "activation_checkpointing_enable", None) or network.gradient_checkpointing_enable
    enable()  # type: ignore[operator]  # mypy takes every attribute of a module for a tensor
    network.train()
