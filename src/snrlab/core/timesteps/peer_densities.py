"""Timestep densities of OneTrainer, so that its configurations can be shown, trained and compared.

Read in its `_get_timestep_discrete` at commit 23df383. Parameters have that program's names. Their defaults here show
the shape; the program's defaults are weight 0, bias 0 and shift 1, with which most of these densities are uniform.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le, Lt

from snrlab.core.arrays import Array
from snrlab.core.errors import UserError
from snrlab.core.schedule import NoiseSchedule
from snrlab.core.timesteps.density import DENSITIES, normal_cdf

Shift = Annotated[float, Gt(0), Le(100)]
Low = Annotated[float, Ge(0), Lt(1)]
High = Annotated[float, Gt(0), Le(1)]
Number = Annotated[float, Ge(-100), Le(100)]
Exponent = Annotated[float, Ge(1e-4), Le(100)]
PAPER = "Nerogar/OneTrainer, modules/modelSetup/mixin/ModelSetupNoiseMixin.py"
SHIFTED = (
    "u = timestep_shift*x/((timestep_shift - 1)*x + 1); x = a + (b - a)*y; "
    "a = min_noising_strength; b = max_noising_strength"
)
_NORMALIZED = "p = w/total; total = sum(w)"
STRETCHED = (
    "x = v/(timestep_shift - timestep_shift*v + v); m = timestep_shift/(timestep_shift + v - v*timestep_shift)**2"
)
INVERSION_POINTS = 100_001  # grid for inverting a distribution by interpolation


def register(formula: str) -> Callable[[Callable[..., Array]], Callable[..., Array]]:
    """Decorator that registers an entry of this module."""
    return DENSITIES.register(paper=PAPER, formula=formula)


@register(f"{SHIFTED}; y = r")
def onetrainer_uniform(
    schedule: NoiseSchedule,
    *,
    timestep_shift: Shift = 3.0,
    min_noising_strength: Low = 0.0,
    max_noising_strength: High = 1.0,
) -> Array:
    """Even draws r between the limits a and b, then shifted: a shift above 1 favours noisy timesteps.

    >>> from snrlab.core.schedule import rectified_flow
    >>> onetrainer_uniform(rectified_flow(num_train_timesteps=2), timestep_shift=3.0)
    array([0.25, 0.75])
    """
    return _from_cdf(schedule, lambda y: y, timestep_shift, min_noising_strength, max_noising_strength)


@register(f"{SHIFTED}; y = 1/(1 + exp(-noising_bias - (1 + noising_weight)*n))")
def onetrainer_logit_normal(
    schedule: NoiseSchedule,
    *,
    noising_weight: Annotated[float, Gt(-1), Le(100)] = 0.0,
    noising_bias: Number = 0.0,
    timestep_shift: Shift = 3.0,
    min_noising_strength: Low = 0.0,
    max_noising_strength: High = 1.0,
) -> Array:
    """Sigmoid of a normal number n, between the limits a and b, then shifted; without these it is logit_normal.

    >>> from snrlab.core.schedule import rectified_flow
    >>> onetrainer_logit_normal(rectified_flow(num_train_timesteps=2), noising_bias=1.0, timestep_shift=1.0).round(6)
    array([0.158655, 0.841345])
    """

    def cdf(y: Array) -> Array:
        with np.errstate(divide="ignore"):
            return normal_cdf((np.log(y) - np.log1p(-y) - noising_bias) / (1 + noising_weight))

    return _from_cdf(schedule, cdf, timestep_shift, min_noising_strength, max_noising_strength)


@register(f"{SHIFTED}; y = 1 - r - noising_weight*(cos(pi/2*r)**2 - 1 + r)")
def onetrainer_heavy_tail(
    schedule: NoiseSchedule,
    *,
    noising_weight: Annotated[float, Ge(-1), Le(1.75)] = 0.8,
    timestep_shift: Shift = 1.0,
    min_noising_strength: Low = 0.0,
    max_noising_strength: High = 1.0,
) -> Array:
    """The SD3 paper's mode sampling of an even r: a weight above 0 favours the middle, one below 0 both ends.

    Beyond -1 and 2/(pi - 2) the law leaves 0 to 1, and the program with it the schedule.

    >>> from snrlab.core.schedule import rectified_flow
    >>> onetrainer_heavy_tail(rectified_flow(num_train_timesteps=4), noising_weight=1.0).round(4)
    array([0.1535, 0.3465, 0.3465, 0.1535])
    """
    r = np.linspace(1, 0, INVERSION_POINTS)
    law = 1 - r - noising_weight * (np.cos(np.pi / 2 * r) ** 2 - 1 + r)  # rises as r falls
    return _from_cdf(
        schedule,
        lambda y: 1 - np.interp(y, law, r),
        timestep_shift,
        min_noising_strength,
        max_noising_strength,
    )


@register(f"{SHIFTED}; y = r**(1/noising_weight)")
def onetrainer_beta(
    schedule: NoiseSchedule,
    *,
    noising_weight: Exponent = 0.5,
    noising_bias: Exponent = 1.0,
    timestep_shift: Shift = 1.0,
    min_noising_strength: Low = 0.0,
    max_noising_strength: High = 1.0,
) -> Array:
    """The beta law of (noising_weight, noising_bias), between the limits, then shifted; for a bias of 1 a power of r.

    >>> from snrlab.core.schedule import rectified_flow
    >>> onetrainer_beta(rectified_flow(num_train_timesteps=2), noising_weight=2.0, noising_bias=2.0).round(12)
    array([0.5, 0.5])
    """

    def cdf(y: Array) -> Array:
        return _beta_cdf(y, noising_weight, noising_bias)

    return _from_cdf(schedule, cdf, timestep_shift, min_noising_strength, max_noising_strength)


@register(f"{_NORMALIZED}; w = 2*m/(pi - 2*pi*x + 2*pi*x**2); {STRETCHED}")
def onetrainer_cos_map(
    schedule: NoiseSchedule,
    *,
    timestep_shift: Shift = 1.0,
    min_noising_strength: Low = 0.0,
    max_noising_strength: High = 1.0,
) -> Array:
    """The SD3 paper's CosMap, listed timestep by timestep from v = 0 to 1 between the limits.

    >>> from snrlab.core.schedule import rectified_flow
    >>> onetrainer_cos_map(rectified_flow(num_train_timesteps=3)).round(6)
    array([0.25, 0.5 , 0.25])
    """
    first, stop = _timestep_limits(schedule, min_noising_strength, max_noising_strength)
    x, m = _shifted_positions(stop - first, timestep_shift)
    return _from_weights(schedule, first, stop, 2 * m / (np.pi - 2 * np.pi * x + 2 * np.pi * x**2))


@register(
    f"{_NORMALIZED}; w = m/(1 + exp(-noising_weight*(z - noising_bias - 0.5))); "
    f"z = x/(timestep_shift - timestep_shift*x + x); {STRETCHED}"
)
def onetrainer_sigmoid(
    schedule: NoiseSchedule,
    *,
    noising_weight: Number = 8.0,
    noising_bias: Number = 0.0,
    timestep_shift: Shift = 1.0,
    min_noising_strength: Low = 0.0,
    max_noising_strength: High = 1.0,
) -> Array:
    """A sigmoid over the timesteps, listed from v = 0 to 1 between the limits; the program applies a shift twice.

    >>> from snrlab.core.schedule import rectified_flow
    >>> onetrainer_sigmoid(rectified_flow(num_train_timesteps=2), noising_weight=2.0).round(6)
    array([0.268941, 0.731059])
    """
    first, stop = _timestep_limits(schedule, min_noising_strength, max_noising_strength)
    x, m = _shifted_positions(stop - first, timestep_shift)
    z = x / (timestep_shift - timestep_shift * x + x)
    height = 0.5 * (1 + np.tanh(noising_weight * (z - noising_bias - 0.5) / 2))  # a sigmoid that does not overflow
    return _from_weights(schedule, first, stop, m * height)


@register(f"{_NORMALIZED}; w = m*max(2 - noising_weight*(x - noising_bias - 0.5)**2, 0); {STRETCHED}")
def onetrainer_inverted_parabola(
    schedule: NoiseSchedule,
    *,
    noising_weight: Number = 7.7,
    noising_bias: Number = 0.0,
    timestep_shift: Shift = 1.0,
    min_noising_strength: Low = 0.0,
    max_noising_strength: High = 1.0,
) -> Array:
    """A parabola over the timesteps, cut at 0, listed from v = 0 to 1 between the limits.

    >>> from snrlab.core.schedule import rectified_flow
    >>> onetrainer_inverted_parabola(rectified_flow(num_train_timesteps=3), noising_weight=4.0)
    array([0.25, 0.5 , 0.25])
    """
    first, stop = _timestep_limits(schedule, min_noising_strength, max_noising_strength)
    x, m = _shifted_positions(stop - first, timestep_shift)
    return _from_weights(schedule, first, stop, m * np.maximum(2 - noising_weight * (x - noising_bias - 0.5) ** 2, 0))


def _timestep_limits(schedule: NoiseSchedule, low: float, high: float) -> tuple[int, int]:
    total = schedule.num_train_timesteps
    first, stop = int(total * low), int(total * high)
    if first >= stop:
        raise UserError(
            f"min_noising_strength {low:g} and max_noising_strength {high:g} leave no timestep to draw; max must be "
            "larger.",
            code="out-of-range",
        )
    return first, stop


def _from_cdf(schedule: NoiseSchedule, cdf: Callable[[Array], Array], shift: float, low: float, high: float) -> Array:
    """Probabilities [T] of drawing timestep floor(T u); `cdf` is the distribution of y, before limits and shift."""
    total = schedule.num_train_timesteps
    first, stop = _timestep_limits(schedule, low, high)
    u = np.arange(1, total) / total
    x = u / (shift - (shift - 1) * u)
    y = np.clip((x * total - first) / (stop - first), 0, 1)
    rising = np.maximum.accumulate(np.clip(cdf(y), 0, 1))  # rounding may make a CDF fall by 1e-16
    return np.diff(np.concatenate(([0.0], rising, [1.0])))


def _shifted_positions(count: int, shift: float) -> tuple[Array, Array]:
    """(x, m): positions of `count` timesteps before the shift, and the factor by which it stretches them, [count]."""
    v = np.linspace(0, 1, count)
    return v / (shift - shift * v + v), shift / (shift + v - v * shift) ** 2


def _from_weights(schedule: NoiseSchedule, first: int, stop: int, weight: Array) -> Array:
    if not weight.sum() > 0:
        raise UserError(
            "this noising_weight and noising_bias leave every timestep at probability 0, so nothing could be drawn.",
            code="unusable-weights",
        )
    p = np.zeros(schedule.num_train_timesteps)
    p[first:stop] = weight / weight.sum()
    return p


def _beta_cdf(y: Array, a: float, b: float) -> Array:
    """Regularised incomplete beta function at y, shape [N], in 0 to 1."""
    lower = _beta_part(np.minimum(y, 0.5), a, b)
    upper = _beta_part(np.minimum(1 - y, 0.5), b, a)
    left, right = (_beta_part(np.array([0.5]), *pair)[0] for pair in ((a, b), (b, a)))
    return np.where(y <= 0.5, lower, left + right - upper) / (left + right)


def _beta_part(y: Array, a: float, b: float) -> Array:
    """Integral of s^(a-1) (1-s)^(b-1) over 0 <= s <= y <= 1/2; below a = 1 over q = s^a, which has no singularity."""
    power = min(a, 1.0)
    nodes, weights = np.polynomial.legendre.leggauss(128)
    top = y[:, None] ** power
    s = (top * (nodes + 1) / 2) ** (1 / power)
    return (top / 2 * (weights * s ** (a - power) * (1 - s) ** (b - 1))).sum(axis=1) / power
