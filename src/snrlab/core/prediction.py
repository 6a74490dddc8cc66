"""What the network predicts, and how errors in one space compare with errors in another.

    x_t = alpha x0 + sigma eps
    epsilon          eps
    v_prediction     (alpha eps - sigma x0) / sqrt(alpha^2 + sigma^2)
    sample           x0
    flow_prediction  eps - x0

With x_t fixed, one network error seen in each space (S = SNR):

    MSE_sample : MSE_epsilon : MSE_v : MSE_flow  =  1 : S : S + 1 : (1 + sqrt(S))^2

so the weight on the network's own loss is the weight on the x0 error divided by `gain`. `target`,
`split` and `convert` take arrays and tensors alike: they use arithmetic only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np

from snrlab.core.arrays import Array
from snrlab.core.errors import unknown

PredictionType = Literal["epsilon", "v_prediction", "sample", "flow_prediction"]
PREDICTION_TYPES: tuple[str, ...] = get_args(PredictionType)

GAINS: Mapping[str, Callable[[Array], Array]] = MappingProxyType(
    {
        "epsilon": lambda log_snr: np.exp(log_snr),
        "v_prediction": lambda log_snr: np.exp(log_snr) + 1,
        "sample": lambda log_snr: np.ones_like(log_snr),
        "flow_prediction": lambda log_snr: (1 + np.exp(log_snr / 2)) ** 2,
    }
)


def gain(prediction_type: str, log_snr: Array) -> Array:
    """Ratio of the mean squared error in this space to that of x0, for the same network error.

    >>> gain("v_prediction", np.array([0.0, -np.inf]))
    array([2., 1.])

    Raises:
        UserError: unknown prediction type.
    """
    if prediction_type not in GAINS:
        raise unknown("prediction_type", prediction_type, PREDICTION_TYPES)
    with np.errstate(over="ignore"):
        return GAINS[prediction_type](np.asarray(log_snr, dtype=np.float64))


def target(prediction_type: str, x0: Any, eps: Any, alpha: Any, sigma: Any) -> Any:
    """The output of a perfect network; x0 and eps have one shape, alpha and sigma broadcast to it."""
    match prediction_type:
        case "epsilon":
            return eps
        case "v_prediction":
            return (alpha * eps - sigma * x0) / (alpha**2 + sigma**2) ** 0.5
        case "sample":
            return x0
        case "flow_prediction":
            return eps - x0
    raise unknown("prediction_type", prediction_type, PREDICTION_TYPES)


def split(prediction_type: str, output: Any, x_t: Any, alpha: Any, sigma: Any) -> tuple[Any, Any]:
    """(x0, eps) according to a network output at x_t.

    Where the conversion divides by alpha (epsilon) or sigma (sample), that must not be 0.
    """
    norm = (alpha**2 + sigma**2) ** 0.5
    match prediction_type:
        case "epsilon":
            return (x_t - sigma * output) / alpha, output
        case "v_prediction":
            x0 = (alpha * x_t / norm - sigma * output) / norm
            return x0, (sigma * x_t / norm + alpha * output) / norm
        case "sample":
            return output, (x_t - alpha * output) / sigma
        case "flow_prediction":
            x0 = (x_t - sigma * output) / (alpha + sigma)
            return x0, x0 + output
    raise unknown("prediction_type", prediction_type, PREDICTION_TYPES)


def convert(output: Any, source: str, to: str, x_t: Any, alpha: Any, sigma: Any) -> Any:
    """A network output converted from the space `source` to the space `to`, at the same x_t."""
    x0, eps = split(source, output, x_t, alpha, sigma)
    return target(to, x0, eps, alpha, sigma)
