"""Interpretation of OneTrainer settings: what it computes from its configuration, and the recipe that was meant.

Read in its sources at commit 23df383: modules/modelSetup/mixin/ModelSetupDiffusionLossMixin.py and
ModelSetupNoiseMixin.py, modules/util/config/TrainConfig.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from snrlab.core.errors import UserError, unknown
from snrlab.core.findings.finding import Finding
from snrlab.core.perturbation import PERTURBATIONS
from snrlab.core.recipe import Recipe
from snrlab.core.registries.registry import Choice
from snrlab.core.registries.tensor_registries import NOISES
from snrlab.core.timesteps.timestep_sampling import SAMPLINGS
from snrlab.core.weights.weighting import WEIGHTINGS, WeightingProperties
from snrlab.peers.loss_floor import with_floor
from snrlab.peers.onetrainer.density import DISTRIBUTIONS, density, number
from snrlab.peers.other_models import SUPPORTED_MODELS
from snrlab.peers.settings import Interpretation, RecipeChange, Settings, other_loss

ONETRAINER_VERSION = "OneTrainer 23df383 (August 2026)"
LOSS_WEIGHTS = ("CONSTANT", "P2", "MIN_SNR_GAMMA", "DEBIASED_ESTIMATION", "SIGMA")
RECIPE_FIELDS = (
    "model_type", "force_v_prediction", "force_epsilon_prediction", "rescale_noise_scheduler_to_zero_terminal_snr",
    "loss_weight_fn", "loss_weight_strength", "perturbation_noise_weight", "offset_noise_weight",
    "generalized_offset_noise", "timestep_distribution", "min_noising_strength", "max_noising_strength",
    "noising_weight", "noising_bias", "timestep_shift", "mae_strength", "log_cosh_strength", "huber_strength",
)  # fmt: skip
STRENGTH = 5.0  # loss_weight_strength where it is not stated
FAMILIES = ("STABLE_DIFFUSION_1", "STABLE_DIFFUSION_2", "STABLE_DIFFUSION_XL")
V_MODELS = ("STABLE_DIFFUSION_20", "STABLE_DIFFUSION_20_INPAINTING", "STABLE_DIFFUSION_20_DEPTH", "STABLE_DIFFUSION_21")


@dataclass(frozen=True)
class OneTrainerSettings:
    """Fields that make up a recipe, with the program's defaults for those that are not stated."""

    v: bool
    prediction_stated: bool
    zero_terminal: bool
    loss_weight: str
    strength: float
    perturbation: float
    offset: float
    generalized: bool
    distribution: str

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> OneTrainerSettings:
        """Read the fields (UserError for a value that the program would stop at)."""
        zero = _flag(options, "rescale_noise_scheduler_to_zero_terminal_snr")
        model = str(options.get("model_type", "STABLE_DIFFUSION_15"))
        if not model.startswith(FAMILIES):
            raise UserError(f"model_type is {model}: {SUPPORTED_MODELS}.", code="not-supported")
        forced = {k: _flag(options, f"force_{k}_prediction") for k in ("v", "epsilon")}
        weight = str(options.get("loss_weight_fn", "CONSTANT"))
        distribution = str(options.get("timestep_distribution", "UNIFORM"))
        for name, value, allowed in (("loss_weight_fn", weight, LOSS_WEIGHTS),
                                     ("timestep_distribution", distribution, DISTRIBUTIONS)):  # fmt: skip
            if value not in allowed:
                raise unknown(name, value, allowed)
        if weight == "SIGMA":
            raise UserError(
                "loss_weight_fn is SIGMA, which OneTrainer has for flow models only; it stops here.",
                code="trainer-stops",
            )
        return cls(
            v=forced["v"] or zero or (model in V_MODELS and not forced["epsilon"]),
            prediction_stated=zero or any(forced.values()) or model in V_MODELS,
            zero_terminal=zero,
            loss_weight=weight,
            strength=number(options, "loss_weight_strength", STRENGTH),
            perturbation=number(options, "perturbation_noise_weight", 0.0),
            offset=number(options, "offset_noise_weight", 0.0),
            generalized=_flag(options, "generalized_offset_noise"),
            distribution=distribution,
        )


def interpret_onetrainer(settings: Settings) -> Interpretation:
    """Interpret a configuration: the recipe that OneTrainer follows, and the one that was meant.

    Raises:
        UserError: OneTrainer itself would stop at a value, or the model is not supported.
    """
    options = settings.options
    fields = OneTrainerSettings.of(options)
    shared: dict[str, Any] = {
        "prediction_type": "v_prediction" if fields.v else "epsilon",
        "zero_terminal_snr": fields.zero_terminal,
        "density": density(options),
        "noise": NOISES.bind("offset", strength=fields.offset) if fields.offset > 0 else None,
    }
    as_is = Recipe(weighting=_weighting(fields, right=False), sampling=SAMPLINGS.bind("plain"), **shared)
    changes: list[RecipeChange] = []
    parts = dict(shared)
    if fields.perturbation > 0:
        parts["perturbation"] = PERTURBATIONS.bind("ip_noise", gamma=fields.perturbation)
        text = "the perturbation in the network's input only, as input perturbation is defined"
        changes.append(RecipeChange("perturbation", text))
    weighting = _weighting(fields, right=True)
    if fields.v and weighting != as_is.weighting:
        changes.append(RecipeChange("weighting", f"{weighting[0].name} with the paper's weight on v"))
    as_meant, effect = with_floor(Recipe(weighting=weighting, **parts))
    changes += effect
    findings = (*settings.findings, *_findings(fields, options))
    return Interpretation(
        settings, tuple(_effects(fields)), as_is, as_meant, findings, tuple(changes), ONETRAINER_VERSION
    )


def _weighting(settings: OneTrainerSettings, *, right: bool) -> tuple[Choice[WeightingProperties], ...]:
    as_paper = right or not settings.v
    match settings.loss_weight:
        case "MIN_SNR_GAMMA":
            return (WEIGHTINGS.bind("min_snr", gamma=settings.strength),)
        case "DEBIASED_ESTIMATION" if as_paper:
            return (WEIGHTINGS.bind("debiased", max_snr=None if right else 1000.0),)
        case "DEBIASED_ESTIMATION":
            return (WEIGHTINGS.bind("onetrainer_debiased_v"),)
        case "P2" if as_paper:
            return (WEIGHTINGS.bind("p2", gamma=settings.strength),)
        case "P2":
            return (WEIGHTINGS.bind("onetrainer_p2_v", gamma=settings.strength),)
    return ()


def _effects(settings: OneTrainerSettings) -> list[str]:
    space, one = ("v", " + 1") if settings.v else ("epsilon", "")
    predicts = (
        f"predicts {space}"
        if settings.prediction_stated
        else "predicts what the model was made for, here taken as epsilon"
    )
    effects = [f"{predicts}; timesteps drawn by {settings.distribution}"]
    if settings.zero_terminal:
        effects.append("rescales the schedule to zero terminal SNR, which makes it predict v; weights use the new SNR")
    weights = {
        "MIN_SNR_GAMMA": f"min(S, {settings.strength:g}) / {'(S + 1)' if settings.v else 'S'}",
        "DEBIASED_ESTIMATION": f"1 / sqrt(S{one}), S capped at 1000",
        "P2": f"(1 + S{one})^-{settings.strength:g}",
    }
    if settings.loss_weight in weights:
        effects.append(f"{settings.loss_weight}: multiplies the {space} loss by {weights[settings.loss_weight]}")
    if settings.perturbation > 0:
        effects.append(f"perturbation_noise_weight: adds {settings.perturbation:g} x noise to input and target alike")
    if settings.offset > 0:
        effects.append(f"offset_noise_weight: shifts each channel's noise by {settings.offset:g} x N(0, 1)")
    return effects


def _findings(settings: OneTrainerSettings, options: Mapping[str, Any]) -> list[Finding]:
    findings = []
    if settings.perturbation > 0:
        scale = (1 + settings.perturbation**2) ** 0.5
        message = (
            "perturbation_noise_weight is not input perturbation: the noise goes into the target too, so it only makes "
            f"the noise {scale:.4f} times as strong, of which the network is asked to predict all."
        )
        findings.append(Finding("perturbation_in_the_target", "warning", message, numbers={"scale": scale}))
    if settings.v and settings.loss_weight in ("DEBIASED_ESTIMATION", "P2"):
        theirs, paper = (
            Recipe(prediction_type="v_prediction", weighting=_weighting(settings, right=right)).tables().weight
            for right in (False, True)
        )
        message = (
            f"{settings.loss_weight} under v is not the paper's weight: {theirs[900]:.3f} against {paper[900]:.3f} at "
            f"t = 900, {theirs[999]:.3f} against {paper[999]:.3f} at 999."
        )
        findings.append(Finding("onetrainer_v_weight", "warning", message))
    if settings.offset > 0 and settings.generalized:
        message = "generalized_offset_noise scales the offset with the timestep, which has no counterpart here."
        findings.append(Finding("not_carried", "warning", message))
    mixed = {k: options[k] for k in ("mae_strength", "log_cosh_strength", "huber_strength") if options.get(k)}
    if mixed:
        listed = ", ".join(f"{name} {value}" for name, value in mixed.items())
        findings.append(other_loss(listed))
    chosen = settings.strength != STRENGTH  # the window writes the field in any case
    if settings.loss_weight == "CONSTANT" and chosen:
        message = "loss_weight_strength is read by MIN_SNR_GAMMA and P2 only; with CONSTANT it does nothing."
        findings.append(Finding("ignored_option", "info", message))
    return findings


def _flag(options: Mapping[str, Any], name: str) -> bool:
    value = options.get(name, False)
    if not isinstance(value, bool):
        raise UserError(f"{name} is {value!r}; it must be true or false.", code="wrong-type")
    return value
