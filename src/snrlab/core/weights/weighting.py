"""Loss weightings, each written once as the weight on the x0 error: w_x0(log_snr).

    weight on the network's own loss  =  w_x0 / gain[prediction_type]        (prediction.py)

S is the SNR, exp(log_snr). `log_snr` may have any shape and be -inf (no signal) or +inf;
results have its shape and are >= 0. Where peers compute something else under the same name, see
`peer_weightings.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le

from snrlab.core.arrays import Array
from snrlab.core.prediction import GAINS, PredictionType
from snrlab.core.registries.registry import KohyaProperties, Registry
from snrlab.core.weights import curve as curves


@dataclass(frozen=True)
class Peer:
    """Program whose formula a weighting reproduces, and how that formula departs from the paper.

    Attributes:
        program: name of the program.
        stated_for: prediction type that the program uses the formula for.
        deviates: difference from the paper.
    """

    program: str
    stated_for: PredictionType
    deviates: str


@dataclass(frozen=True)
class WeightingProperties(KohyaProperties):
    """Properties of a weighting.

    Attributes:
        peer: program whose formula it is, if not the paper's.
        multiplier: it is not a weight on the x0 error, but a factor on the network's own loss after the weightings.
    """

    peer: Peer | None = None
    multiplier: bool = False


WEIGHTINGS = Registry("weighting", properties=WeightingProperties)
Gamma = Annotated[float, Gt(0), Le(1000)]


@WEIGHTINGS.register(paper="arXiv:2006.11239", formula="w_x0 = S")
def epsilon(log_snr: Array) -> Array:
    """w_x0 = S: the plain epsilon loss, whatever the network predicts.

    >>> epsilon(np.log([0.25, 4.0])).round(12)
    array([0.25, 4.  ])
    """
    return GAINS["epsilon"](log_snr)


@WEIGHTINGS.register(paper="arXiv:2006.11239", formula="w_x0 = 1")
def sample(log_snr: Array) -> Array:
    """w_x0 = 1: the plain x0 loss, whatever the network predicts.

    >>> sample(np.log([0.25, 4.0]))
    array([1., 1.])
    """
    return GAINS["sample"](log_snr)


@WEIGHTINGS.register(paper="arXiv:2202.00512", formula="w_x0 = S + 1")
def v_prediction(log_snr: Array) -> Array:
    """w_x0 = S + 1: the plain v loss, whatever the network predicts.

    >>> v_prediction(np.log([0.25, 4.0])).round(12)
    array([1.25, 5.  ])
    """
    return GAINS["v_prediction"](log_snr)


@WEIGHTINGS.register(paper="arXiv:2403.03206", formula="w_x0 = (1 + sqrt(S))**2")
def flow_prediction(log_snr: Array) -> Array:
    """w_x0 = (1 + sqrt(S))^2: the plain flow-matching loss, whatever the network predicts.

    >>> flow_prediction(np.log([0.25, 4.0])).round(12)
    array([2.25, 9.  ])
    """
    return GAINS["flow_prediction"](log_snr)


@WEIGHTINGS.register(paper="arXiv:2303.09556", formula="w_x0 = min(S, gamma)", kohya={"ss_min_snr_gamma": "gamma"})
def min_snr(log_snr: Array, *, gamma: Gamma = 5.0) -> Array:
    """w_x0 = min(S, gamma): Min-SNR.

    On epsilon min(1, gamma/S): timesteps cleaner than SNR = gamma count less, the others as before.

    >>> min_snr(np.log([0.25, 20.0]), gamma=5.0).round(12)
    array([0.25, 5.  ])
    """
    return np.minimum(np.exp(log_snr), gamma)


@WEIGHTINGS.register(paper="arXiv:2401.11605", formula="w_x0 = S*gamma/(S + gamma)")
def soft_min_snr(log_snr: Array, *, gamma: Gamma = 5.0) -> Array:
    """w_x0 = S gamma / (S + gamma): Soft-Min-SNR, Min-SNR without the kink.

    >>> soft_min_snr(np.log([5.0, 20.0]), gamma=5.0).round(12)
    array([2.5, 4. ])
    """
    return gamma * _sigmoid(log_snr - np.log(gamma))


@WEIGHTINGS.register(
    paper="arXiv:2310.08442", formula="w_x0 = S/sqrt(min(S, max_snr))", kohya={"ss_debiased_estimation": True}
)
def debiased(log_snr: Array, *, max_snr: Annotated[float, Gt(0)] | None = None) -> Array:
    """w_x0 = S / sqrt(min(S, max_snr)): Debiased Estimation; the paper has no max_snr.

    On epsilon 1/sqrt(S): noisy timesteps count more. kohya's trainer caps S at 1000, which on the
    SD schedule changes timestep 0 only.

    >>> debiased(np.log([0.25, 4.0, 4e6])).round(9)
    array([5.e-01, 2.e+00, 2.e+03])
    >>> debiased(np.log([16.0]), max_snr=4.0).round(12)
    array([8.])
    """
    if max_snr is None:
        return np.exp(log_snr / 2)
    cap = np.log(max_snr)
    return np.exp(np.where(log_snr > cap, log_snr - cap / 2, log_snr / 2))


@WEIGHTINGS.register(paper="arXiv:2204.00227", formula="w_x0 = S/(k + S)**gamma")
def p2(
    log_snr: Array, *, k: Annotated[float, Gt(0), Le(1000)] = 1.0, gamma: Annotated[float, Ge(0), Le(4)] = 1.0
) -> Array:
    """w_x0 = S (k + S)^-gamma: P2, perception prioritised.

    >>> p2(np.log([4.0]), k=1.0, gamma=0.5).round(9)
    array([1.78885438])
    """
    return np.exp(log_snr - gamma * np.logaddexp(np.log(k), log_snr))


@WEIGHTINGS.register(paper="arXiv:2303.09556", formula="w_x0 = max(S, gamma)")
def max_snr(log_snr: Array, *, gamma: Gamma = 1.0) -> Array:
    """w_x0 = max(S, gamma): Max-SNR, also called truncated SNR.

    >>> max_snr(np.log([0.25, 4.0]), gamma=1.0).round(12)
    array([1., 4.])
    """
    return np.maximum(np.exp(log_snr), gamma)


@WEIGHTINGS.register(paper="arXiv:2303.00848", formula="w_x0 = S/(1 + exp(log(S) - bias))")
def sigmoid(log_snr: Array, *, bias: Annotated[float, Ge(-20), Le(20)] = 0.0) -> Array:
    """w_x0 = S / (1 + exp(log_snr - bias)): on epsilon a smooth step down at log_snr = bias.

    >>> sigmoid(np.array([0.0]), bias=0.0)
    array([0.5])
    """
    return np.exp(bias) * _sigmoid(log_snr - bias)


@WEIGHTINGS.register(paper="none: drawn by the user", formula="w_x0 = points(log(S))*gain(space)")
def curve(log_snr: Array, *, points: curves.Curve, space: PredictionType = "epsilon") -> Array:
    """w_x0 = gain of `space` x a curve of log_snr that you draw: the curve multiplies the loss in `space`.

    `points` is piecewise linear in log-SNR: `-5/0.2;0/1;5/0.1`, or `@file.csv` with two columns.

    >>> curve(np.array([0.0, -2.5]), points="-5/0.2;0/1;5/0.1", space="sample")
    array([1. , 0.6])
    """
    return curves.curve_value(points, log_snr) * GAINS[space](log_snr)


def _sigmoid(x: Array) -> Array:
    return np.exp(-np.logaddexp(0, -x))
