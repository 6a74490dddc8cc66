"""Learning rate schedule: warm-up, then decay, as a function of the step."""

from __future__ import annotations

from snrlab.config.sections.train import TrainConfig
from snrlab.core.lr_schedules import warmup_factor


def rate_factor(train: TrainConfig, step: int) -> float:
    """The factor on every learning rate at a step: linear warm-up, then the schedule.

    >>> config = TrainConfig(steps=100, warmup=10)
    >>> [round(rate_factor(config, s), 3) for s in (0, 9, 10, 55)]
    [0.1, 1.0, 1.0, 0.5]
    """
    if step < train.warmup_steps:
        return warmup_factor(step, train.warmup_steps)
    return float(train.lr_schedule(step, train.warmup_steps, train.steps))
