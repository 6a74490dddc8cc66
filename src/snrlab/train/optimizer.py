"""The optimizer of a run."""

from __future__ import annotations

import torch

from snrlab.config.train import TrainConfig
from snrlab.train.trainable import Trainable


def make_optimizer(train: TrainConfig, trained: Trainable) -> torch.optim.AdamW:
    """The optimizer over these weights, one group for each learning rate; `rate` in a group is that rate."""
    groups: dict[float, list[torch.nn.Parameter]] = {}
    for name, parameter in trained.parameters.items():
        groups.setdefault(trained.rates[name], []).append(parameter)
    return torch.optim.AdamW(
        [{"params": parameters, "lr": rate, "rate": rate} for rate, parameters in groups.items()],
        betas=(train.beta1, train.beta2),
        weight_decay=train.weight_decay,
        fused=True,
    )


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Give every group its learning rate times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["rate"] * factor
