"""The learning rate as a function of the step."""

from __future__ import annotations

import math

from snrlab.config.train import TrainConfig


def learning_rate(train: TrainConfig, step: int) -> float:
    """Linear warm-up from 0, then constant, or half a cosine down to 0 at the last step.

    >>> config = TrainConfig(steps=100, warmup_steps=10, learning_rate=1.0)
    >>> [round(learning_rate(config, s), 3) for s in (0, 9, 10, 55)]
    [0.1, 1.0, 1.0, 0.5]
    """
    if step < train.warmup_steps:
        return train.learning_rate * (step + 1) / train.warmup_steps
    if train.lr_schedule == "constant":
        return train.learning_rate
    progress = (step - train.warmup_steps) / (train.steps - train.warmup_steps)
    return train.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
