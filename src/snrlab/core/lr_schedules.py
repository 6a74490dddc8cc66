"""Learning-rate schedules: the factor on the learning rate at a step after warm-up.

A schedule takes `step` (counted from 0, the warm-up included), `warmup` and `total`, all in optimizer steps, with
warmup <= step < total. It starts at 1, and stays between 0 and 1. The names are kohya's and transformers'.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le

from snrlab.core.errors import UserError
from snrlab.core.registries.registry import Properties, Registry


@dataclass(frozen=True)
class LearningRateProperties(Properties):
    """Properties of a learning-rate schedule.

    Attributes:
        flat: the factor is 1 from warm-up to the end.
        by_step: the parameters name steps, warm-up included, so the factor need not start at 1.
    """

    flat: bool = False
    by_step: bool = False


LR_SCHEDULES = Registry("lr_schedule", properties=LearningRateProperties)

TRANSFORMERS = "huggingface/transformers, optimization.py"
Fraction = Annotated[float, Ge(0), Le(1)]


def warmup_factor(step: int, warmup: int) -> float:
    """Linear warm-up for step < warmup: the first step already trains, and the last one has the full rate.

    transformers and kohya multiply the first step by 0, which wastes it, and lag one step behind from then on.

    >>> [warmup_factor(step, 4) for step in range(4)]
    [0.25, 0.5, 0.75, 1.0]
    """
    return (step + 1) / warmup


def progress(step: int, warmup: int, total: int) -> float:
    """The fraction of the steps after warm-up that is done: 0 at the first of them."""
    return (step - warmup) / (total - warmup)


@LR_SCHEDULES.register(paper=TRANSFORMERS, formula="factor = 1", flat=True)
def constant(step: int, warmup: int, total: int) -> float:
    """The full rate to the end, after the warm-up if there is one; other trainers also call it constant_with_warmup.

    >>> constant(99, 10, 100)
    1.0
    """
    return 1.0


@LR_SCHEDULES.register(paper=TRANSFORMERS, formula="factor = 1 - u")
def linear(step: int, warmup: int, total: int) -> float:
    """A straight line down to 0 at the end.

    >>> [linear(step, 20, 100) for step in (20, 60)]
    [1.0, 0.5]
    """
    return 1 - progress(step, warmup, total)


@LR_SCHEDULES.register(paper="arXiv:1608.03983", formula="factor = (1 + cos(pi*u))/2")
def cosine(step: int, warmup: int, total: int) -> float:
    """Half a cosine down to 0 at the end.

    >>> [round(cosine(step, 20, 100), 3) for step in (20, 60, 99)]
    [1.0, 0.5, 0.0]
    """
    return 0.5 * (1 + math.cos(math.pi * progress(step, warmup, total)))


@LR_SCHEDULES.register(paper="arXiv:1608.03983", formula="factor = (1 + cos(pi*mod(cycles*u, 1)))/2")
def cosine_with_restarts(step: int, warmup: int, total: int, *, cycles: Annotated[int, Ge(1), Le(1000)] = 2) -> float:
    """Half a cosine down to 0, `cycles` times from the full rate (kohya's default is once, which is plain cosine).

    >>> [round(cosine_with_restarts(step, 0, 100, cycles=2), 3) for step in (0, 25, 50, 75)]
    [1.0, 0.5, 1.0, 0.5]
    """
    return 0.5 * (1 + math.cos(math.pi * ((cycles * progress(step, warmup, total)) % 1.0)))


@LR_SCHEDULES.register(paper=TRANSFORMERS, formula="factor = min_ratio + (1 - min_ratio)*(1 + cos(pi*cycles*u))/2")
def cosine_with_min_lr(
    step: int, warmup: int, total: int, *, min_ratio: Fraction = 0.1, cycles: Annotated[int, Ge(1), Le(1000)] = 1
) -> float:
    """Half a cosine down to min_ratio of the rate, and up again if cycles is 2: lr_scheduler_min_lr_ratio.

    >>> [round(cosine_with_min_lr(step, 0, 100, min_ratio=0.2), 3) for step in (0, 50, 99)]
    [1.0, 0.6, 0.2]
    """
    wave = 0.5 * (1 + math.cos(math.pi * cycles * progress(step, warmup, total)))
    return min_ratio + (1 - min_ratio) * wave


@LR_SCHEDULES.register(paper=TRANSFORMERS, formula="factor = end + (1 - end)*(1 - u)**power")
def polynomial(
    step: int, warmup: int, total: int, *, power: Annotated[float, Gt(0), Le(10)] = 1.0, end: Fraction = 0.0
) -> float:
    """Down as (1 - progress)^power to the fraction `end` of the rate; kohya ends at 1e-7, whatever the rate.

    >>> [polynomial(step, 0, 100, power=2.0) for step in (0, 50)]
    [1.0, 0.25]
    """
    return float(end + (1 - end) * (1 - progress(step, warmup, total)) ** power)


@LR_SCHEDULES.register(paper="arXiv:2106.04560", formula="factor = 1/sqrt(1 + (step - warmup)/timescale)")
def inverse_sqrt(
    step: int, warmup: int, total: int, *, timescale: Annotated[int, Ge(1), Le(10**9)] | None = None
) -> float:
    """1 / sqrt(1 + steps since warm-up / timescale), where timescale is by default the warm-up, or 10000 without one.

    >>> [inverse_sqrt(step, 10, 100) for step in (10, 40)]
    [1.0, 0.5]
    """
    scale = timescale or warmup or 10_000
    return 1 / math.sqrt((step - warmup + scale) / scale)


@LR_SCHEDULES.register(
    paper="arXiv:2404.06395",
    formula="factor = min_ratio + (1 - min_ratio)*(1 + cos(pi*cycles*v))/2; v = max(0, 1 - (1 - step/total)/decay)",
)
def warmup_stable_decay(
    step: int,
    warmup: int,
    total: int,
    *,
    decay: Annotated[float, Gt(0), Le(1)] = 0.1,
    min_ratio: Fraction = 0.0,
    cycles: Annotated[int, Ge(1), Le(1000)] = 1,
) -> float:
    """The full rate until the last fraction `decay` of all steps, which is half a cosine down: lr_decay_steps.

    >>> [round(warmup_stable_decay(step, 0, 100, decay=0.2), 3) for step in (0, 79, 80, 90)]
    [1.0, 1.0, 1.0, 0.5]
    """
    length = min(max(1, int(decay * total)), total - warmup)
    return cosine_with_min_lr(max(step, total - length), total - length, total, min_ratio=min_ratio, cycles=cycles)


class PiecewiseRules:
    """Marker of a parameter that holds rates by step: `1:10,0.1:20,0.01`."""

    example = "1:100,0.1:200,0.01"

    def check(self, value: str) -> str:
        """The text unchanged, checked (UserError)."""
        read_rules(value)
        return value


@LR_SCHEDULES.register(paper="huggingface/diffusers, optimization.py", formula="factor = rules(step)", by_step=True)
def piecewise_constant(step: int, warmup: int, total: int, *, rules: Annotated[str, PiecewiseRules()]) -> float:
    """Rates by step, `1:10,0.1:20,0.01`: 1 before step 10, 0.1 before step 20, then 0.01; warm-up steps are counted.

    >>> [piecewise_constant(step, 0, 100, rules="1:10,0.1:20,0.01") for step in (0, 10, 20)]
    [1.0, 0.1, 0.01]
    """
    bounds, last = read_rules(rules)
    return next((factor for before, factor in bounds if step < before), last)


def read_rules(text: str) -> tuple[list[tuple[int, float]], float]:
    """Parse `factor:step,...,factor` into ([(step, factor before it)], factor after the last step).

    >>> read_rules("1:10,0.5")
    ([(10, 1.0)], 0.5)
    """
    *parts, last = text.split(",")
    try:
        bounds = [(int(step), float(factor)) for factor, step in (part.split(":") for part in parts)]
        final = float(last)
    except ValueError:
        raise UserError(
            f"rules '{text}': write factor:step pairs and a last factor, such as {PiecewiseRules.example}.",
            code="invalid-syntax",
        ) from None
    steps = [step for step, _ in bounds]
    if steps != sorted(set(steps)) or not all(0 <= factor <= 1 for factor in (*(f for _, f in bounds), final)):
        raise UserError(
            f"rules '{text}': the steps must rise, and every factor must be between 0 and 1.", code="out-of-range"
        )
    return bounds, final
