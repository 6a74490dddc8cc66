"""Samplers of pictures: names here and in other programs, and the diffusers scheduler behind each.

The schedulers themselves are made in `snrlab.pictures.schedulers`, which imports diffusers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from snrlab.core.errors import UnknownNameError, UserError, unknown

DEFAULT_SAMPLER = "ddim"
WHY_DDIM = "ddim adds no noise between the steps, so the pictures of two models differ by the models alone"


@dataclass(frozen=True)
class PictureSampler:
    """One way to step from noise to a picture.

    Attributes:
        name: name in run files and on the command line.
        title: name that pictures carry; A1111's where it has this sampler.
        scheduler: class in diffusers.
        arguments: its arguments, besides the schedule and the prediction type.
        kohya: names in kohya's sd-scripts.
        onetrainer: name in OneTrainer; empty where it has none.
        noise: whether each step adds noise.
        zero_terminal: whether it works on a schedule that ends without signal.
        predictions: prediction types that it works with.
    """

    name: str
    title: str
    scheduler: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    kohya: tuple[str, ...] = ()
    onetrainer: str = ""
    noise: bool = False
    zero_terminal: bool = False
    predictions: tuple[str, ...] = ("epsilon", "v_prediction", "sample")

    @property
    def karras(self) -> bool:
        """Whether the noise levels of the steps are those of Karras et al. 2022 (arXiv:2206.00364)."""
        return bool(self.arguments.get("use_karras_sigmas"))


_MULTISTEP, _SINGLESTEP = "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"
_SDE = {"algorithm_type": "sde-dpmsolver++"}
_NOISE_OR_V = ("epsilon", "v_prediction")
_LINSPACE = {"timestep_spacing": "linspace"}  # as kohya, A1111 and these classes by default


def _with_karras(plain: PictureSampler, onetrainer: str = "") -> PictureSampler:
    """A sampler on Karras' noise levels, which have no start where the last one is infinite."""
    return replace(
        plain, name=f"{plain.name}_karras", title=f"{plain.title} Karras", kohya=(), onetrainer=onetrainer,
        arguments={**plain.arguments, "use_karras_sigmas": True}, zero_terminal=False,
    )  # fmt: skip


_DDIM = PictureSampler(
    "ddim",
    "DDIM",
    "DDIMScheduler",
    {"timestep_spacing": "trailing"},
    kohya=("ddim",),
    onetrainer="DDIM",
    zero_terminal=True,
)
_PLMS = PictureSampler(
    "pndm",
    "PLMS",
    "PNDMScheduler",
    {"timestep_spacing": "leading", "steps_offset": 1, "skip_prk_steps": True},
    kohya=("pndm",),
    predictions=_NOISE_OR_V,
)
_EULER = PictureSampler(
    "euler",
    "Euler",
    "EulerDiscreteScheduler",
    _LINSPACE,
    kohya=("euler", "k_euler"),
    onetrainer="EULER",
    zero_terminal=True,
)
_EULER_A = PictureSampler(
    "euler_a",
    "Euler a",
    "EulerAncestralDiscreteScheduler",
    _LINSPACE,
    kohya=("euler_a", "k_euler_a"),
    onetrainer="EULER_A",
    noise=True,
    zero_terminal=True,
    predictions=_NOISE_OR_V,
)
_HEUN = PictureSampler("heun", "Heun", "HeunDiscreteScheduler", _LINSPACE, kohya=("heun",))
_DPM2 = PictureSampler(
    "dpm2", "DPM2", "KDPM2DiscreteScheduler", _LINSPACE, kohya=("dpm_2", "k_dpm_2"), predictions=_NOISE_OR_V
)
_DPM2_A = PictureSampler(
    "dpm2_a",
    "DPM2 a",
    "KDPM2AncestralDiscreteScheduler",
    _LINSPACE,
    kohya=("dpm_2_a", "k_dpm_2_a"),
    noise=True,
    predictions=_NOISE_OR_V,
)
_2M = PictureSampler(
    "dpmpp_2m", "DPM++ 2M", _MULTISTEP, _LINSPACE, kohya=("dpmsolver++",), onetrainer="DPMPP", zero_terminal=True
)
_2M_SDE = PictureSampler(
    "dpmpp_2m_sde",
    "DPM++ 2M SDE",
    _MULTISTEP,
    {**_LINSPACE, **_SDE},
    onetrainer="DPMPP_SDE",
    noise=True,
    zero_terminal=True,
)
# the single-step classes have one spacing, and switch lower_order_final on by themselves with a warning
_2S = PictureSampler("dpmpp_2s", "DPM++ 2S", _SINGLESTEP, {"lower_order_final": True}, kohya=("dpmsingle",))
_SINGLE_SDE = PictureSampler("dpmpp_sde", "DPM++ SDE", _SINGLESTEP, {"lower_order_final": True, **_SDE}, noise=True)
_UNIPC = PictureSampler("unipc", "UniPC", "UniPCMultistepScheduler", _LINSPACE, onetrainer="UNIPC", zero_terminal=True)

SAMPLERS: Mapping[str, PictureSampler] = MappingProxyType(
    {
        sampler.name: sampler
        for sampler in (
            _DDIM, _EULER, _with_karras(_EULER, "EULER_KARRAS"), _EULER_A,
            _2M, _with_karras(_2M, "DPMPP_KARRAS"), _2M_SDE, _with_karras(_2M_SDE, "DPMPP_SDE_KARRAS"),
            _2S, _with_karras(_2S), _SINGLE_SDE, _with_karras(_SINGLE_SDE),
            _UNIPC, _with_karras(_UNIPC, "UNIPC_KARRAS"),
            _HEUN, _with_karras(_HEUN), _DPM2, _with_karras(_DPM2), _DPM2_A, _with_karras(_DPM2_A), _PLMS,
        )
    }
)  # fmt: skip
_PLAIN = [sampler for sampler in SAMPLERS.values() if not sampler.karras]
NAMES_IN_SHORT = (
    f"{', '.join(sampler.name for sampler in _PLAIN)}; with _karras at the end on Karras' noise levels (not "
    f"{', '.join(sampler.name for sampler in _PLAIN if f'{sampler.name}_karras' not in SAMPLERS)}); or kohya's or "
    f"A1111's name, such as DPM++ 2M Karras. The default is for measurement: {WHY_DDIM}."
)
# samplers of kohya and A1111 that are not here, and the nearest one that is
_NEAREST = {
    "lms": "dpmpp_2m", "k_lms": "dpmpp_2m", "LMS Karras": "dpmpp_2m_karras", "ddpm": "euler_a",
    "dpmsolver": "dpmpp_2m", "DPM fast": "dpmpp_2m", "DPM adaptive": "dpmpp_2m", "DPM++ 2S a": "dpmpp_sde",
    "DPM++ 2S a Karras": "dpmpp_sde_karras", "DPM++ 2M SDE Heun": "dpmpp_2m_sde", "DPM++ 3M SDE": "dpmpp_2m_sde",
    "DPM++ 3M SDE Karras": "dpmpp_2m_sde_karras", "DDIM CFG++": "ddim", "Restart": "euler_a", "LCM": "euler",
}  # fmt: skip


def _key(name: str) -> str:
    """A name without what people write differently: capitals, blanks, underscores and dashes."""
    return re.sub(r"[\s_-]", "", name.lower())


_BY_KEY = {
    _key(name): sampler for sampler in SAMPLERS.values() for name in (sampler.name, sampler.title, *sampler.kohya)
}
_NEAREST_BY_KEY = {_key(name): nearest for name, nearest in _NEAREST.items()}


def sampler_named(name: str, field: str = "") -> PictureSampler:
    """The sampler of a name, which may be kohya's or A1111's too; `field`, if given, begins the message of an error.

    >>> [sampler_named(name, "sampler").name for name in ("DPM++ 2M Karras", "k_euler_a", "ddim")]
    ['dpmpp_2m_karras', 'euler_a', 'ddim']

    Raises:
        UserError: no such sampler, or one of another program without a counterpart here.
    """
    if (sampler := _BY_KEY.get(_key(name))) is not None:
        return sampler
    if (nearest := _NEAREST_BY_KEY.get(_key(name))) is not None:
        raise UserError(
            f"{field}: ".removeprefix(": ") + f"'{name}' is a sampler of another program that snrlab does not have. "
            f"The nearest here is {nearest}.",
            code="not-supported",
        )
    error = unknown(field, name, SAMPLERS)
    raise error if field else UnknownNameError(str(error).removeprefix(": "), error.guess)


def check_epsilon_scaling(name: str, epsilon_scaling: float) -> None:
    """Refuse to scale the predicted noise with a sampler that does not do it (UserError)."""
    if epsilon_scaling != 1 and name != DEFAULT_SAMPLER:
        raise UserError(
            f"epsilon_scaling is {epsilon_scaling:g}, but the sampler is {name}: only {DEFAULT_SAMPLER} scales the "
            f"predicted noise. Leave epsilon_scaling at 1, or use {DEFAULT_SAMPLER}.",
            code="conflicting-options",
            field="epsilon_scaling",
        )


def check_sampler(name: str, prediction_type: str, *, zero_terminal: bool) -> None:
    """Refuse a sampler that cannot draw with a model.

    Args:
        name: name of the sampler, a key of SAMPLERS.
        prediction_type: what the network predicts.
        zero_terminal: whether the schedule ends without signal.

    Raises:
        UserError: the combination does not exist; the message names the samplers that work.
    """
    sampler = SAMPLERS[name]
    if zero_terminal and not sampler.zero_terminal:
        reason = (
            "Karras' noise levels would start at infinity"
            if sampler.karras
            else f"{sampler.scheduler} of diffusers cannot start there"
        )
        allowed = ", ".join(s.name for s in SAMPLERS.values() if s.zero_terminal)
        raise UserError(
            f"the sampler is {name}, but this model's schedule ends without signal: {reason}. Allowed: {allowed}.",
            code="conflicting-options",
        )
    if prediction_type not in sampler.predictions:
        allowed = ", ".join(s.name for s in SAMPLERS.values() if prediction_type in s.predictions)
        raise UserError(
            f"the sampler is {name}, but {sampler.scheduler} of diffusers does not draw with a model that predicts "
            f"{prediction_type}. Allowed: {allowed or 'none yet'}.",
            code="conflicting-options",
        )
