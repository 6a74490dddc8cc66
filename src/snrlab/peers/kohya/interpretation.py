"""Interpretation of kohya settings: what sd-scripts computes from them, and the recipe that was meant.

Read in the program's sources at the commit that `KOHYA_VERSION` names: library/custom_train_functions.py,
library/train_util.py, train_network.py, sdxl_train.py.
"""

from __future__ import annotations

from typing import Any

from snrlab.config.option_tables.kohya import KOHYA_VERSION
from snrlab.core.errors import UserError
from snrlab.core.perturbation import PERTURBATIONS
from snrlab.core.recipe import Recipe
from snrlab.core.registries.registry import Choice
from snrlab.core.registries.tensor_registries import NOISES
from snrlab.core.timesteps.density import DENSITIES
from snrlab.core.timesteps.timestep_sampling import SAMPLINGS
from snrlab.core.weights.weighting import WEIGHTINGS, WeightingProperties
from snrlab.peers.kohya.findings import formulas, unknown_options
from snrlab.peers.kohya.settings import STEPS, KohyaSettings
from snrlab.peers.loss_floor import with_floor
from snrlab.peers.other_models import refuse_other_models
from snrlab.peers.settings import Interpretation, RecipeChange, Settings


def interpret_kohya(settings: Settings) -> Interpretation:
    """Interpret kohya's options: the recipe that the program follows, and the one that was meant.

    Raises:
        UserError: the program itself would stop at a value, or the model is not supported.
    """
    refuse_other_models(settings.options, settings.extras)
    options = KohyaSettings(settings.options)
    _refuse_invalid(options)
    weighting, product = _as_is_weighting(options)
    shared = _common_parts(options)
    as_is = Recipe(weighting=weighting, product_on=product, **shared)
    as_meant, changes = _as_meant(options, as_is, shared)
    findings = [*settings.findings, *unknown_options(settings.options), *formulas(options)]
    return Interpretation(
        settings, tuple(_effects(options, settings)), as_is, as_meant, tuple(findings), tuple(changes), KOHYA_VERSION
    )


def _refuse_invalid(options: KohyaSettings) -> None:
    if options.scale_v and not options.v:
        raise UserError(
            "scale_v_pred_loss_like_noise_pred needs v_parameterization; kohya's program stops here.",
            code="trainer-stops",
        )
    if options.v_like is not None and options.v:
        raise UserError(
            "v_pred_like_loss is for epsilon-prediction, and v_parameterization is set; kohya stops here.",
            code="trainer-stops",
        )
    if not 0 <= options.first < options.stop <= STEPS:
        raise UserError(
            f"min_timestep {options.first} and max_timestep {options.stop} must be 0 <= min < max <= {STEPS}.",
            code="trainer-stops",
        )


def _as_is_weighting(options: KohyaSettings) -> tuple[tuple[Choice[WeightingProperties], ...], Any]:
    """(weightings, loss that their product is taken on) as the program computes them: on the network's own loss."""
    chosen = []
    if options.min_snr is not None:
        chosen.append(WEIGHTINGS.bind("min_snr", gamma=options.min_snr))
    if options.scale_v:
        chosen.append(WEIGHTINGS.bind("scale_v_pred_loss_like_noise_pred"))
    if options.v_like is not None:
        chosen.append(WEIGHTINGS.bind("v_pred_like_loss", scale=options.v_like))
    if options.debiased and options.v:
        chosen.append(WEIGHTINGS.bind("kohya_debiased_v"))
    elif options.debiased:
        chosen.append(WEIGHTINGS.bind("debiased", max_snr=1000.0))
    if options.zero_terminal and options.v:
        chosen = [WEIGHTINGS.bind("kohya_before_rescale", of=choice.spec) for choice in chosen]
    return tuple(chosen), "network" if len(chosen) > 1 else "epsilon"


def _common_parts(options: KohyaSettings) -> dict[str, Any]:
    """Fields of the recipe that are the same as it is and as it was meant."""
    parts: dict[str, Any] = {
        "prediction_type": "v_prediction" if options.v else "epsilon",
        "zero_terminal_snr": options.zero_terminal,
        "density": DENSITIES.bind("uniform", min_timestep=options.first, max_timestep=options.stop),
        "sampling": SAMPLINGS.bind("plain"),
    }
    if options.first == 0 and options.stop == STEPS:
        parts["density"] = DENSITIES.bind("uniform")
    if options.ip_gamma is not None:
        random = {"per": "batch"} if options.ip_random else {}
        name = "ip_noise_random" if options.ip_random else "ip_noise"
        parts["perturbation"] = PERTURBATIONS.bind(name, gamma=options.ip_gamma, **random)
    shapes = {"offset": options.offset, "pyramid": options.pyramid}
    active = {name: params for name, params in shapes.items() if params}
    if active:
        params = {name: value for shape in active.values() for name, value in shape.items()}
        parts["noise"] = NOISES.bind("_".join(active), **params)
    return parts


def _as_meant(options: KohyaSettings, as_is: Recipe, shared: dict[str, Any]) -> tuple[Recipe, list[RecipeChange]]:
    chosen, changes = [], []
    if options.min_snr is not None:
        chosen.append(WEIGHTINGS.bind("min_snr", gamma=options.min_snr))
    if options.debiased:
        chosen.append(WEIGHTINGS.bind("debiased"))
    if options.debiased and options.v:
        changes.append(
            RecipeChange(
                "weighting", "Debiased with the paper's weight on v, sqrt(S) / (S + 1), instead of 1 / (S + 1)"
            )
        )
    if options.scale_v and chosen:
        text = "no scale_v_pred_loss_like_noise_pred: the other weights on v contain its factor already"
        changes.append(RecipeChange("weighting", text))
    elif options.scale_v:
        chosen.append(WEIGHTINGS.bind("epsilon"))
    if options.v_like is not None:
        chosen.append(WEIGHTINGS.bind("v_pred_like_loss", scale=options.v_like))
    if options.zero_terminal and options.v and as_is.weighting:
        changes.append(RecipeChange("weighting", "weights from the rescaled SNR, the one that is trained with"))
    if len(chosen) > 1 and options.v:
        changes.append(
            RecipeChange("weighting", "the product taken on epsilon, so that the conversion to v counts once")
        )
    parts = shared | {"sampling": SAMPLINGS.bind("stratified")}
    if options.stop == STEPS - 1:
        text = f"max_timestep {STEPS}, so that the last step is trained: the program leaves the bound out"
        changes.append(RecipeChange("density", text, starts_with_name=True))
        first = {"min_timestep": options.first} if options.first else {}
        parts["density"] = DENSITIES.bind("uniform", **first)
    recipe = Recipe(weighting=tuple(chosen), **parts)
    if options.v and options.zero_terminal:
        recipe, effect = with_floor(recipe)
        changes += effect
    return recipe, changes


def _effects(options: KohyaSettings, settings: Settings) -> list[str]:
    """Sentences on what the program computes, one for each option that changes the recipe."""
    space = "v" if options.v else "epsilon"
    effects = [f"predicts {space}; timesteps uniform from {options.first} to {options.stop - 1}, drawn independently"]
    if options.zero_terminal:
        effects.append("rescales the schedule to zero terminal SNR after its table of SNRs for weights was made")
    if options.min_snr is not None:
        weight = f"min(S, {options.min_snr:g}) / " + ("(S + 1)" if options.v else "S")
        effects.append(f"min_snr_gamma: multiplies the {space} loss by {weight}")
    elif options.is_stated("min_snr_gamma") and not settings.extras:
        effects.append("min_snr_gamma 0: switched off, as if it were not there")
    if options.debiased:
        weight = "1 / (S + 1)" if options.v else "1 / sqrt(S)"
        effects.append(f"debiased_estimation_loss: multiplies the {space} loss by {weight}, S capped at 1000")
    if options.scale_v:
        effects.append("scale_v_pred_loss_like_noise_pred: multiplies the v loss by S / (S + 1)")
    if options.v_like is not None:
        effects.append(f"v_pred_like_loss: multiplies the epsilon loss by 1 + {options.v_like:g} (S + 1) / S")
    if options.ip_gamma is not None:
        strength = (
            f"U(0, 1) x {options.ip_gamma:g}, one draw a batch," if options.ip_random else f"{options.ip_gamma:g}"
        )
        effects.append(f"ip_noise_gamma: adds noise of strength {strength} to the network's input, not to its target")
    if options.noise_offset is not None:
        strength = ("U(0, 1) x " if options.offset_random else "") + f"{options.noise_offset:g}"
        if options.adaptive:
            strength = f"({strength} + {options.adaptive:g} x the channel's own mean)"
        effects.append(f"noise_offset: shifts each channel's noise by {strength} x N(0, 1)")
    if options.multires is not None:
        effects.append(
            f"multires noise: {options.multires:g} levels, discount {options.discount:g}, in input and target"
        )
    return effects
