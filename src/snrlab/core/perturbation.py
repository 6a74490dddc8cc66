"""Input perturbation: extra noise on the network's input that the target does not contain.

    x_t = alpha x0 + sigma (eps + gamma(t) xi),  xi ~ N(0, I);  the target is made from eps alone

For a network that predicts eps this raises the smallest reachable loss to gamma^2 / (1 + gamma^2)
and lowers the input's SNR to SNR / (1 + gamma^2): losses with and without it do not compare.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le

from snrlab.core.arrays import Array
from snrlab.core.errors import unknown
from snrlab.core.prediction import PREDICTION_TYPES
from snrlab.core.registries.registry import KohyaProperties, Registry
from snrlab.core.weights import curve as curves


@dataclass(frozen=True)
class PerturbationProperties(KohyaProperties):
    """Properties of a perturbation.

    Attributes:
        random_strength: the strength is gamma times a draw from U(0, 1); the function returns the rms of that.
    """

    random_strength: bool = False


PERTURBATIONS = Registry("perturbation", properties=PerturbationProperties)
Strength = Annotated[float, Ge(0), Le(10)]


@PERTURBATIONS.register(paper="arXiv:2301.11706", formula="gamma_t = gamma", kohya={"ss_ip_noise_gamma": "gamma"})
def ip_noise(log_snr: Array, *, gamma: Strength = 0.1) -> Array:
    """gamma(t) = gamma: input perturbation as in the paper.

    >>> ip_noise(np.array([0.0, 5.0]), gamma=0.1)
    array([0.1, 0.1])
    """
    return np.full_like(log_snr, gamma)


@PERTURBATIONS.register(
    paper="kohya-ss/sd-scripts, library/train_util.py",
    formula="gamma_rms = gamma/sqrt(3)",
    random_strength=True,
    kohya={"ss_ip_noise_gamma": "gamma", "ss_ip_noise_gamma_random_strength": True},
)
def ip_noise_random(log_snr: Array, *, gamma: Strength = 0.1, per: Literal["sample", "batch"] = "sample") -> Array:
    """Strength gamma U(0, 1), drawn per sample (kohya: per batch); shown as its rms, gamma / sqrt(3).

    >>> ip_noise_random(np.array([0.0]), gamma=0.3).round(9)
    array([0.17320508])
    """
    return np.full_like(log_snr, gamma / np.sqrt(3))


@PERTURBATIONS.register(
    paper="kukaiN/EasyTrainer_Wasabi_addon, library/train_util.py", formula="gamma_t = gamma*min(1, sqrt(S))"
)
def ip_noise_snr(log_snr: Array, *, gamma: Strength = 0.1) -> Array:
    """gamma(t) = gamma min(1, sqrt(SNR)): fades where the signal does.

    >>> ip_noise_snr(np.log([0.25, 4.0]), gamma=0.1)
    array([0.05, 0.1 ])
    """
    return gamma * np.exp(np.minimum(log_snr, 0) / 2)


@PERTURBATIONS.register(paper="none: drawn by the user", formula="gamma_t = points(log(S))")
def curve(log_snr: Array, *, points: curves.Curve) -> Array:
    """gamma(t) from a curve of log_snr that you draw, piecewise linear: `-5/0;0/0.1`, or `@file.csv`.

    >>> curve(np.array([-2.5]), points="-5/0;0/0.1")
    array([0.05])
    """
    return curves.curve_value(points, log_snr)


def loss_floor(gamma: Array, alphas_cumprod: Array, prediction_type: str) -> Array:
    """The part of the network's loss, per element, that no network can remove, shape [T].

    epsilon and flow gamma^2/(1+gamma^2), v alphas_cumprod times that, sample 0. With a random
    strength, gamma being its rms, this is the floor of the best linear estimate.
    """
    share = gamma**2 / (1 + gamma**2)
    match prediction_type:
        case "epsilon" | "flow_prediction":
            return share
        case "v_prediction":
            return alphas_cumprod * share
        case "sample":
            return np.zeros_like(share)
    raise unknown("prediction_type", prediction_type, PREDICTION_TYPES)
