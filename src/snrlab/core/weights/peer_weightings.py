"""Formulas that other trainers use under the same names, so that their numbers can be reproduced.

Each entry has a `Peer`: the program, the prediction type that it uses the formula for, and how the formula
departs from the paper. Formulas were read in the programs' sources; `paper` names the file. Entries with
`multiplier=True` are not weightings: they multiply the network's own loss, after the weightings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le

from snrlab.core.arrays import Array
from snrlab.core.prediction import GAINS
from snrlab.core.schedule import sd
from snrlab.core.weights.loss_weight import loss_weight
from snrlab.core.weights.weighting import WEIGHTINGS, Gamma, Peer

_KOHYA = "kohya-ss/sd-scripts, library/custom_train_functions.py"
ONETRAINER = "Nerogar/OneTrainer, modules/modelSetup/mixin/ModelSetupDiffusionLossMixin.py"
SNR_CAP = 1000.0  # in both programs, before the formula; on the SD schedule it changes timestep 0 only


def _on_v(weight: Array, log_snr: Array) -> Array:
    """w_x0 of a weight on the v loss."""
    return weight * GAINS["v_prediction"](log_snr)


@WEIGHTINGS.register(
    paper=_KOHYA,
    formula="w_v = 1/(min(S, 1000) + 1)",
    peer=Peer(
        "kohya sd-scripts",
        "v_prediction",
        "the paper's weight on v is sqrt(S)/(S+1); this is the plain x0 loss, 14.6 times more at the last SD step",
    ),
    kohya={"ss_debiased_estimation": True},
)
def kohya_debiased_v(log_snr: Array) -> Array:
    """On v 1/(S+1), S capped at 1000: kohya's Debiased Estimation for v-prediction.

    >>> kohya_debiased_v(np.log([4.0])).round(12)
    array([1.])
    """
    return _on_v(1 / (np.minimum(np.exp(log_snr), SNR_CAP) + 1), log_snr)


@WEIGHTINGS.register(
    paper=ONETRAINER,
    formula="w_v = 1/sqrt(min(S, 1000) + 1)",
    peer=Peer(
        "OneTrainer",
        "v_prediction",
        "the paper's weight on v is sqrt(S)/(S+1); the 1 is added under the root and nothing is converted",
    ),
)
def onetrainer_debiased_v(log_snr: Array) -> Array:
    """On v 1/sqrt(S+1), S capped at 1000: OneTrainer's Debiased Estimation for v-prediction.

    >>> onetrainer_debiased_v(np.log([3.0])).round(12)
    array([2.])
    """
    return _on_v((np.minimum(np.exp(log_snr), SNR_CAP) + 1) ** -0.5, log_snr)


@WEIGHTINGS.register(
    paper=ONETRAINER,
    formula="w_v = 1/(2 + S)**gamma",
    peer=Peer(
        "OneTrainer",
        "v_prediction",
        "the paper's P2 on v is S/((S+1)(1+S)^gamma); the 1 is added twice and nothing is converted",
    ),
)
def onetrainer_p2_v(log_snr: Array, *, gamma: Annotated[float, Ge(0), Le(4)] = 1.0) -> Array:
    """On v (2+S)^-gamma: OneTrainer's P2 for v-prediction.

    >>> onetrainer_p2_v(np.log([2.0]), gamma=1.0).round(12)
    array([0.75])
    """
    return _on_v((2 + np.exp(log_snr)) ** -gamma, log_snr)


@WEIGHTINGS.register(
    paper="huggingface/diffusers, examples/dreambooth/train_dreambooth_lora_sdxl.py",
    formula="w_v = min(1, gamma/S) + 1",
    peer=Peer(
        "diffusers' DreamBooth scripts",
        "v_prediction",
        "Min-SNR on v is min(S,gamma)/(S+1); here 1 is added to the epsilon weight, so it lies between 1 and 2",
    ),
)
def diffusers_dreambooth_min_snr_v(log_snr: Array, *, gamma: Gamma = 5.0) -> Array:
    """On v min(1, gamma/S) + 1: Min-SNR of diffusers' DreamBooth scripts for v-prediction.

    >>> diffusers_dreambooth_min_snr_v(np.log([1.0]), gamma=5.0).round(12)
    array([4.])
    """
    return _on_v(_clipped_inverse(log_snr, gamma) + 1, log_snr)


@WEIGHTINGS.register(
    paper="huggingface/diffusers, examples/research_projects/pixart/train_pixart_controlnet_hf.py",
    formula="w_v = min(S + 1, gamma)/(S + 1)",
    peer=Peer(
        "diffusers' PixArt script",
        "v_prediction",
        "Min-SNR on v is min(S,gamma)/(S+1); here S+1 is clipped, so noisy steps keep the plain v loss",
    ),
)
def diffusers_pixart_min_snr_v(log_snr: Array, *, gamma: Gamma = 5.0) -> Array:
    """On v min(S+1, gamma)/(S+1): Min-SNR of diffusers' PixArt script for v-prediction.

    >>> diffusers_pixart_min_snr_v(np.log([1.0, 9.0]), gamma=5.0).round(12)
    array([2., 5.])
    """
    return np.minimum(np.exp(log_snr) + 1, gamma)


@WEIGHTINGS.register(
    paper="ostris/ai-toolkit, toolkit/train_tools.py",
    formula="w_v = min(1, gamma/S)",
    peer=Peer(
        "ai-toolkit",
        "v_prediction",
        "Min-SNR on v is min(S,gamma)/(S+1); the epsilon weight is used on the v loss",
    ),
)
def ai_toolkit_min_snr_v(log_snr: Array, *, gamma: Gamma = 5.0) -> Array:
    """On v min(1, gamma/S): ai-toolkit's min_snr_gamma for v-prediction.

    >>> ai_toolkit_min_snr_v(np.log([1.0, 9.0]), gamma=3.0).round(9)
    array([2.        , 3.33333333])
    """
    return _on_v(_clipped_inverse(log_snr, gamma), log_snr)


@WEIGHTINGS.register(
    paper="ostris/ai-toolkit, toolkit/train_tools.py",
    formula="w_epsilon = gamma/S",
    peer=Peer(
        "ai-toolkit",
        "epsilon",
        "the name suggests Min-SNR; this is gamma times the plain x0 loss, without the clip at 1",
    ),
)
def ai_toolkit_snr_gamma(log_snr: Array, *, gamma: Gamma = 5.0) -> Array:
    """On epsilon gamma/S: ai-toolkit's snr_gamma.

    >>> ai_toolkit_snr_gamma(np.log([1.0, 9.0]), gamma=3.0)
    array([3., 3.])
    """
    return gamma * GAINS["sample"](log_snr)


@WEIGHTINGS.register(
    paper=_KOHYA,
    formula="factor = min(S, 1000)/(min(S, 1000) + 1)",
    peer=Peer(
        "kohya sd-scripts",
        "v_prediction",
        "it turns the v loss into the plain epsilon loss; weightings written for v contain this factor already",
    ),
    multiplier=True,
)
def scale_v_pred_loss_like_noise_pred(log_snr: Array) -> Array:
    """Multiplies the v loss by S/(S+1), S capped at 1000: kohya's option of this name.

    >>> scale_v_pred_loss_like_noise_pred(np.log([3.0])).round(12)
    array([0.75])
    """
    return _capped_share(log_snr)


@WEIGHTINGS.register(
    paper=_KOHYA,
    formula="factor = 1 + scale*(min(S, 1000) + 1)/min(S, 1000)",
    peer=Peer(
        "kohya sd-scripts",
        "epsilon",
        "no paper: it adds the v loss, scaled by the option's value, to the epsilon loss",
    ),
    multiplier=True,
)
def v_pred_like_loss(log_snr: Array, *, scale: Annotated[float, Gt(0), Le(100)] = 1.0) -> Array:
    """Multiplies the epsilon loss by 1 + scale (S+1)/S, S capped at 1000: kohya's option of this name.

    >>> v_pred_like_loss(np.log([1.0]), scale=0.5).round(12)
    array([2.])
    """
    with np.errstate(divide="ignore"):
        return 1 + scale / _capped_share(log_snr)


@dataclass(frozen=True)
class WeightingText:
    """Marker of a parameter that names another weighting, as the command line writes it."""

    example: str = "min_snr:gamma=5"

    def check(self, value: str) -> str:
        """The weighting with all its parameters."""
        return WEIGHTINGS.parse(value).spec


@WEIGHTINGS.register(
    paper="kohya-ss/sd-scripts, train_network.py and eight more: the SNR table is made, then the schedule is rescaled",
    formula="w_v = of(S_before)",
    peer=Peer(
        "kohya sd-scripts",
        "v_prediction",
        "weights under zero_terminal_snr must use the rescaled SNR, which is 4.8 times smaller at t = 900",
    ),
)
def kohya_before_rescale(log_snr: Array, *, of: Annotated[str, WeightingText()] = "min_snr:gamma=5") -> Array:
    """On v the weight `of` another weighting at the SNR that the timestep had before the rescaling to SNR 0.

    >>> kohya_before_rescale(np.array([-np.inf])).round(6)  # min(S, 5)/(S + 1) at S = 0.0046819 instead of 0
    array([0.00466])
    """
    abar = sd().alphas_cumprod
    first, last = np.sqrt(abar[0]), np.sqrt(abar[-1])
    rescaled = np.exp(-0.5 * np.logaddexp(0, -log_snr))  # sqrt(abar) of the timestep as trained
    before = (rescaled * (first - last) / first + last) ** 2
    stale = np.log(before) - np.log1p(-np.minimum(before, abar[0]))
    return _on_v(loss_weight([WEIGHTINGS.parse(of)], stale, "v_prediction"), log_snr)


def _clipped_inverse(log_snr: Array, gamma: float) -> Array:
    return np.minimum(1, np.exp(np.log(gamma) - log_snr))


def _capped_share(log_snr: Array) -> Array:
    snr = np.minimum(np.exp(log_snr), SNR_CAP)
    return snr / (snr + 1)
