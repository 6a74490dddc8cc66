"""Timestep densities: the probability p(t) of drawing each timestep, shape [T], sum 1.

A density changes the objective. One that is defined by a continuous distribution gives p(t) as the
difference of its CDF over the cell of the timestep; cell edges lie halfway between timesteps, and the tails
fall into the end cells. Timestep t lies at u = (t + 1/2) / T before any shift of the schedule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import erf, sqrt
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le

from snrlab.core.arrays import Array
from snrlab.core.errors import UserError
from snrlab.core.registries.registry import Properties, Registry
from snrlab.core.schedule import NoiseSchedule
from snrlab.core.timesteps.timestep_sampling import Bins, Floor, LossDecay, mix_with_floor
from snrlab.core.weights import curve as curves


@dataclass(frozen=True)
class DensityProperties(Properties):
    """Properties of a density.

    Attributes:
        of_errors: function from (p, weights, mean errors by timestep) and the parameters to the probabilities once
            errors are known; None for a density that does not learn.
        changes: its effect on the objective, if the curve does not show it.
    """

    of_errors: Callable[..., Array] | None = None
    changes: str = ""

    @property
    def learns(self) -> bool:
        """Whether it draws by the errors so far, so that the objective is learnt."""
        return self.of_errors is not None


DENSITIES = Registry("density", properties=DensityProperties)


@DENSITIES.register(paper="arXiv:2006.11239", formula="p = 1/(max_timestep - min_timestep)")
def uniform(
    schedule: NoiseSchedule,
    *,
    min_timestep: Annotated[int, Ge(0)] = 0,
    max_timestep: Annotated[int, Gt(0)] | None = None,
) -> Array:
    """p(t) equal for min_timestep <= t < max_timestep, else 0; by default for all timesteps.

    >>> from snrlab.core.schedule import sd
    >>> p = uniform(sd(), min_timestep=200, max_timestep=700)
    >>> [float(p[t]) for t in (199, 200, 699, 700)]
    [0.0, 0.002, 0.002, 0.0]
    """
    total = schedule.num_train_timesteps
    stop = total if max_timestep is None else max_timestep
    if not 0 <= min_timestep < stop <= total:
        raise UserError(
            f"density uniform: min_timestep {min_timestep} and max_timestep {stop} (exclusive) must be "
            f"0 <= min_timestep < max_timestep <= {total}.",
            code="out-of-range",
        )
    t = np.arange(total)
    return np.where((t >= min_timestep) & (t < stop), 1.0 / (stop - min_timestep), 0.0)


@DENSITIES.register(
    paper="arXiv:2403.03206", formula="p(u) = exp(-((log(u/(1 - u)) - mean)/std)**2/2)/(std*sqrt(2*pi)*u*(1 - u))"
)
def logit_normal(
    schedule: NoiseSchedule,
    *,
    mean: Annotated[float, Ge(-10), Le(10)] = 0.0,
    std: Annotated[float, Gt(0), Le(10)] = 1.0,
) -> Array:
    """logit(u) ~ N(mean, std^2), u the noise time: a mean above 0 favours noisy timesteps (the SD3 paper's sign).

    >>> from snrlab.core.schedule import rectified_flow
    >>> logit_normal(rectified_flow(num_train_timesteps=2), mean=1.0, std=1.0).round(6)
    array([0.158655, 0.841345])
    """
    edges = np.arange(1, schedule.num_train_timesteps) / schedule.num_train_timesteps
    return _cell_probabilities(normal_cdf((np.log(edges) - np.log1p(-edges) - mean) / std))


@DENSITIES.register(paper="arXiv:2407.03297", formula="p(log_snr) = exp(-abs(log_snr - mean)/scale)/(2*scale)")
def laplace(
    schedule: NoiseSchedule,
    *,
    mean: Annotated[float, Ge(-20), Le(20)] = 0.0,
    scale: Annotated[float, Gt(0), Le(20)] = 0.5,
) -> Array:
    """log_snr ~ Laplace(mean, scale): effort gathers around SNR = exp(mean).

    >>> from snrlab.core.schedule import rectified_flow
    >>> laplace(rectified_flow(num_train_timesteps=2), mean=0.5, scale=0.5).round(6)
    array([0.81606, 0.18394])
    """
    edges = (schedule.log_snr[:-1] + schedule.log_snr[1:]) / 2
    z = (mean - edges) / scale  # rises with t, as the noise does
    with np.errstate(over="ignore"):
        return _cell_probabilities(np.where(z < 0, np.exp(np.minimum(z, 0)) / 2, 1 - np.exp(-np.maximum(z, 0)) / 2))


@DENSITIES.register(paper="none: drawn by the user", formula="p = points(log_snr)/total; total = sum(points(log_snr))")
def curve(schedule: NoiseSchedule, *, points: curves.Curve) -> Array:
    """P(t) proportional to a curve of log_snr(t): a flat curve is uniform over timesteps.

    >>> from snrlab.core.schedule import rectified_flow
    >>> curve(rectified_flow(num_train_timesteps=2), points="-1/3;1/1")
    array([0.25, 0.75])
    """
    height = curves.curve_value(points, schedule.log_snr)
    if height.sum() == 0:
        raise UserError(
            f"density curve '{points}': it is 0 at every timestep of the schedule.", code="unusable-weights"
        )
    return height / height.sum()


def attention(p: Array, weight: Array, mse: Array, *, floor: float, decay: float, bins: int) -> Array:
    """Probabilities of loss_attention once errors are known: a share `floor` from p, the rest by the weighted loss.

    >>> attention(np.array([0.5, 0.5]), np.ones(2), np.array([1.0, 3.0]), floor=0.5, decay=0.0, bins=2)
    array([0.375, 0.625])
    """
    return mix_with_floor(p, weight * mse, floor)


@DENSITIES.register(
    paper="Anzhc/Timestep-Attention",
    formula="p = floor/T + (1 - floor)*w*mse/sum(w*mse)",
    of_errors=attention,
    changes="it changes the objective to one that is learnt: about the square of the weight counts, times the error",
)
def loss_attention(schedule: NoiseSchedule, *, floor: Floor = 0.3, decay: LossDecay = 0.99, bins: Bins = 20) -> Array:
    """More often where the weighted loss is large, without a correction: another objective, learnt in training.

    It starts uniform, as tables and plots show it, and a share `floor` of the draws stays uniform. The sampling
    `importance` draws in a similar way and leaves the objective unchanged.

    >>> from snrlab.core.schedule import rectified_flow
    >>> loss_attention(rectified_flow(num_train_timesteps=2))
    array([0.5, 0.5])
    """
    return np.full(schedule.num_train_timesteps, 1.0 / schedule.num_train_timesteps)


def _cell_probabilities(cdf_at_inner_edges: Array) -> Array:
    return np.diff(np.concatenate(([0.0], cdf_at_inner_edges, [1.0])))


def normal_cdf(z: Array) -> Array:
    """CDF of the standard normal distribution at each z, which may be infinite."""
    return np.array([0.5 * (1 + erf(x / sqrt(2))) for x in z])
