"""Weight on the network's own loss, computed from named weightings.

    product on epsilon   w_x0 = S prod(w_i / S),  weight = w_x0 / gain[prediction_type]
    product on network   weight = prod(w_i / gain[prediction_type])      (what peers do)
    then, on the network's own loss: multipliers, max_weight, min_weight, normalize

An empty list of weightings is the plain loss: weight 1. At SNR = 0 and SNR = infinity the weight is
its analytic limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from snrlab.core.arrays import Array
from snrlab.core.prediction import gain
from snrlab.core.registries.registry import Choice
from snrlab.core.weights.weighting import WeightingProperties

ProductOn = Literal["epsilon", "network"]
_PROBES = np.array([100.0, 120.0])  # |log_snr| at which every weighting has reached its power law


def is_multiplier(choice: Choice[WeightingProperties]) -> bool:
    """Whether the entry is a factor on the network's own loss instead of a weight on the x0 error."""
    return choice.entry.properties.multiplier


def loss_weight(
    choices: Sequence[Choice[WeightingProperties]],
    log_snr: Array,
    prediction_type: str,
    product_on: ProductOn = "epsilon",
) -> Array:
    """The weight on the network's own loss, before limits and normalisation.

    Args:
        choices: bound entries of WEIGHTINGS.
        log_snr: any shape, -inf and +inf allowed.
        prediction_type: what the network predicts.
        product_on: the space in which several weightings multiply.

    Returns:
        Same shape, >= 0; inf where the limit is infinite.
    """
    log_snr = np.asarray(log_snr, dtype=np.float64)
    with np.errstate(all="ignore"):
        weight = _direct(choices, log_snr, prediction_type, product_on)
        for end in (-1.0, 1.0):
            undefined = np.isnan(weight) & (log_snr == end * np.inf)
            if undefined.any():
                probe = _direct(choices, end * _PROBES, prediction_type, product_on)
                weight = np.where(undefined, _limit(probe), weight)
    return weight


def limit_weight(weight: Array, p: Array, max_weight: float | None, min_weight: float | None, normalize: bool) -> Array:
    """Apply the limits in their order: max_weight, min_weight, then mean 1 under the density p."""
    if max_weight is not None:
        weight = np.minimum(weight, max_weight)
    if min_weight is not None:
        weight = np.maximum(weight, min_weight)
    if normalize:
        trained = p > 0  # a timestep that is never drawn must not affect the scale
        weight = weight / np.sum(p[trained] * weight[trained])
    return weight


def _direct(
    choices: Sequence[Choice[WeightingProperties]], log_snr: Array, prediction_type: str, product_on: ProductOn
) -> Array:
    weightings = [c for c in choices if not is_multiplier(c)]
    network_gain = gain(prediction_type, log_snr)
    weight = np.ones_like(log_snr)
    if weightings and product_on == "network":
        weight = np.prod([c(log_snr) / network_gain for c in weightings], axis=0)
    elif weightings:
        first, *others = (c(log_snr) for c in weightings)
        epsilon_gain = gain("epsilon", log_snr)
        weight = first * np.prod([w / epsilon_gain for w in others], axis=0) / network_gain
    for multiplier in filter(is_multiplier, choices):
        weight = weight * multiplier(log_snr)
    return np.asarray(weight, dtype=np.float64)


def _limit(probe: Array) -> float:
    """Limit of a function that is a power of the SNR from the first probe on, from its values at both probes."""
    near, far = np.log(probe)
    if np.isnan(near - far) or abs(far - near) < 1e-6:
        return float(probe[1])
    return 0.0 if far < near else float("inf")
