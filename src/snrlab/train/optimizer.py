"""The optimizer of a run."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from snrlab.config.train import TrainConfig


def make_optimizer(train: TrainConfig, parameters: Mapping[str, nn.Parameter]) -> torch.optim.AdamW:
    """The optimizer over these weights."""
    return torch.optim.AdamW(
        parameters.values(),
        lr=train.learning_rate,
        betas=(train.beta1, train.beta2),
        weight_decay=train.weight_decay,
        fused=True,
    )
