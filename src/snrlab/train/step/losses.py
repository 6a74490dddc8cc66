"""Losses: functions of the error of each element of the prediction.

A loss takes the noise schedule and gives a `Loss`: a function of the error d and of a threshold c_t by timestep. It
is 0 at d = 0, even, and rises with |d|. The step multiplies its mean by the recipe's weight, as kohya does.

The recipe's weights are derived for squared errors. With x_t fixed, only those of epsilon, v and x0 are in a fixed
ratio (1 : SNR + 1 : ...); an absolute error has the root of that ratio, and a Huber loss is in between, by the size
of d against c_t. So a weighting still says how the steps count against each other, but two prediction types do not
train the same thing any more.

This module needs no torch to be imported, only to be used.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from annotated_types import Gt, Le, Lt

from snrlab.core.arrays import Array
from snrlab.core.errors import UserError
from snrlab.core.registries.tensor_registries import LOSSES
from snrlab.core.schedule import NoiseSchedule

if TYPE_CHECKING:
    from torch import Tensor

HuberSchedule = Literal["snr", "exponential", "constant"]
_KOHYA = "kohya-ss/sd-scripts, library/train_util.py"
LINEAR = "large errors count less, outliers in the data among them; the weights of a recipe are for squared errors"


@dataclass(frozen=True, eq=False)
class Loss:
    """A loss of a recipe's schedule.

    Attributes:
        of_error: (d, c), broadcast against each other, to the loss of each element.
        threshold: c_t by timestep, float64 [T].
    """

    of_error: Callable[[Tensor, Tensor], Tensor]
    threshold: Array


@LOSSES.register(paper="arXiv:2006.11239", formula="loss = d**2")
def mse(schedule: NoiseSchedule) -> Loss:
    """d^2, which the weights of every recipe are for; kohya's l2.

    >>> import torch
    >>> from snrlab import SCHEDULES
    >>> mse(SCHEDULES.bind("sd")()).of_error(torch.tensor([0.5, -2.0]), torch.tensor(1.0))
    tensor([0.2500, 4.0000])
    """
    return Loss(lambda d, c: d.square(), np.zeros_like(schedule.snr))


@LOSSES.register(paper=_KOHYA, formula="loss = abs(d)", changes=LINEAR)
def l1(schedule: NoiseSchedule) -> Loss:
    """|d|: the median instead of the mean.

    >>> import torch
    >>> from snrlab import SCHEDULES
    >>> l1(SCHEDULES.bind("sd")()).of_error(torch.tensor([0.5, -2.0]), torch.tensor(1.0))
    tensor([0.5000, 2.0000])
    """
    return Loss(lambda d, c: d.abs(), np.zeros_like(schedule.snr))


@LOSSES.register(paper="arXiv:2403.16728", formula="loss = 2*c_t*(sqrt(d**2 + c_t**2) - c_t)", changes=LINEAR)
def huber(
    schedule: NoiseSchedule,
    *,
    c_schedule: HuberSchedule = "snr",
    c: Annotated[float, Gt(0), Lt(1)] = 0.1,
    scale: Annotated[float, Gt(0), Le(100)] = 1.0,
) -> Loss:
    """2 c_t (sqrt(d^2 + c_t^2) - c_t), pseudo-Huber: d^2 for |d| below c_t, 2 c_t |d| far above it.

    >>> import torch
    >>> from snrlab import SCHEDULES
    >>> huber(SCHEDULES.bind("sd")()).of_error(torch.tensor([0.0, 3.0]), torch.tensor(4.0))
    tensor([0., 8.])
    """
    return Loss(lambda d, c: 2 * c * ((d.square() + c**2).sqrt() - c), threshold(schedule, c_schedule, c, scale))


@LOSSES.register(paper="arXiv:2403.16728", formula="loss = 2*(sqrt(d**2 + c_t**2) - c_t)", changes=LINEAR)
def smooth_l1(
    schedule: NoiseSchedule,
    *,
    c_schedule: HuberSchedule = "snr",
    c: Annotated[float, Gt(0), Lt(1)] = 0.1,
    scale: Annotated[float, Gt(0), Le(100)] = 1.0,
) -> Loss:
    """2 (sqrt(d^2 + c_t^2) - c_t): huber / c_t, so d^2 / c_t for |d| below c_t, and 2 |d| far above it.

    >>> import torch
    >>> from snrlab import SCHEDULES
    >>> smooth_l1(SCHEDULES.bind("sd")()).of_error(torch.tensor([0.0, 3.0]), torch.tensor(4.0))
    tensor([0., 2.])
    """
    return Loss(lambda d, c: 2 * ((d.square() + c**2).sqrt() - c), threshold(schedule, c_schedule, c, scale))


def threshold(schedule: NoiseSchedule, c_schedule: HuberSchedule, c: float, scale: float) -> Array:
    """c_t by timestep, float64 [T]: kohya's huber_schedule, huber_c and huber_scale.

    With sigma = sqrt(1 / SNR):   snr          (1 - c) / (1 + sigma)^2 + c, from 1 down to c
                                  exponential  scale c^(t / T), from scale down to scale x c
                                  constant     scale x c

    Raises:
        UserError: a scale with the schedule `snr`, which has none (kohya ignores it).
    """
    if c_schedule == "snr":
        if scale != 1:
            raise UserError(
                f'loss: scale is {scale:g}, but c_schedule = "snr" has none; it goes from 1 to c.', code="unused-option"
            )
        root = np.sqrt(schedule.snr)
        return np.asarray((1 - c) * (root / (1 + root)) ** 2 + c)  # 1 / (1 + sigma), finite at SNR = 0
    if c_schedule == "exponential":
        steps = len(schedule.snr)
        return np.asarray(scale * np.exp(math.log(c) / steps * np.arange(steps)))
    return np.full_like(schedule.snr, scale * c)
