"""The learning rate as a function of the step."""

from __future__ import annotations

import math

from snrlab.config.train import TrainConfig


def rate_factor(train: TrainConfig, step: int) -> float:
    """What every learning rate is multiplied by: linear warm-up from 0, then 1, or half a cosine down to 0 at the end.

    >>> config = TrainConfig(steps=100, warmup_steps=10)
    >>> [round(rate_factor(config, s), 3) for s in (0, 9, 10, 55)]
    [0.1, 1.0, 1.0, 0.5]
    """
    if step < train.warmup_steps:
        return (step + 1) / train.warmup_steps
    if train.lr_schedule == "constant":
        return 1.0
    progress = (step - train.warmup_steps) / (train.steps - train.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * progress))
