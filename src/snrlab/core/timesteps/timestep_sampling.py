"""Timestep samplings: how timesteps are drawn from the recipe's density, without changing the objective.

An entry gives p_s(t), the distribution that timesteps are drawn from, and each loss is multiplied by p / p_s, so the
expected gradient is that of the density whatever p_s is. Entries with the property `learns` use the network's error so
far, so p_s changes from step to step; the others draw from the density itself. The draw, with its strata, is made in
`core/random_streams.py` (`uniforms`, `inverse_cdf`) for `train/step/draws.py`.

The p_s that minimises the variance of the gradient is proportional to p times the root mean square of the gradient's
norm at t. That norm costs too much to compute; the norm of the loss's gradient at the network's output, w sqrt(mse),
bounds it up to a factor (Katharopoulos and Fleuret 2018, "Not all samples are created equal") and is known at every
step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Le, Lt

from snrlab.core.arrays import Array
from snrlab.core.registries.registry import Properties, Registry


@dataclass(frozen=True)
class SamplingProperties(Properties):
    """Properties of a sampling.

    Attributes:
        stratified: the timesteps of a step are spread evenly over the density instead of drawn independently.
        learns: it draws by the errors so far, and corrects each loss for that.
    """

    stratified: bool = False
    learns: bool = False


SAMPLINGS = Registry("sampling", properties=SamplingProperties)
Floor = Annotated[float, Gt(0), Le(1)]
LossDecay = Annotated[float, Ge(0), Lt(1)]
Bins = Annotated[int, Ge(2), Le(1000)]


@SAMPLINGS.register(paper="none: stratified sampling", formula="p_s = p", stratified=True)
def stratified(p: Array, weight: Array, mse: Array) -> Array:
    """From the density, one timestep from each of as many equal strata of it as the global batch has images.

    >>> stratified(np.array([0.25, 0.75]), np.ones(2), np.ones(2))
    array([0.25, 0.75])
    """
    return p


@SAMPLINGS.register(paper="none: what most trainers do", formula="p_s = p")
def plain(p: Array, weight: Array, mse: Array) -> Array:
    """From the density, independently for each image.

    >>> plain(np.array([0.25, 0.75]), np.ones(2), np.ones(2))
    array([0.25, 0.75])
    """
    return p


@SAMPLINGS.register(
    paper="arXiv:2303.00848",
    formula="p_s = floor*p + (1 - floor)*p*g/sum(p*g); g = w*sqrt(mse)",
    stratified=True,
    learns=True,
)
def importance(
    p: Array,
    weight: Array,
    mse: Array,
    *,
    by: Literal["gradient", "loss"] = "gradient",
    floor: Floor = 0.3,
    decay: LossDecay = 0.99,
    bins: Bins = 20,
) -> Array:
    """More often where the loss is informative, each loss divided by how much more often: the objective is unchanged.

    `by` is the measure of a timestep: the gradient of the weighted loss at the network's output, w sqrt(mse), or the
    weighted loss, w mse. A share `floor` of the draws is from the density, so no loss counts more than 1 / floor
    times. The error is a running mean in `bins` equal bins of the timesteps, where an image has the weight 1 - decay.

    >>> importance(np.array([0.5, 0.5]), np.ones(2), np.array([0.0, 1.0]), floor=0.2)
    array([0.1, 0.9])
    """
    return mix_with_floor(p, weight * (np.sqrt(mse) if by == "gradient" else mse), floor)


def mix_with_floor(p: Array, size: Array, floor: float) -> Array:
    """Mixture of p, with weight `floor`, and a distribution proportional to p times a size >= 0; 0 where p is 0."""
    mass = np.zeros_like(p)
    drawn = p > 0  # a size where nothing is drawn may be infinite
    mass[drawn] = p[drawn] * size[drawn]
    total = mass.sum()
    return floor * p + (1 - floor) * mass / total if total > 0 else p
