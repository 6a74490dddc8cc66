"""[recipe] of a run as options of kohya's, with the fields that kohya has no option for."""

from __future__ import annotations

from typing import Any

from snrlab.config.run import RunConfig
from snrlab.core.registries.registry import Choice
from snrlab.core.registries.tensor_registries import NoiseProperties
from snrlab.peers.conversion import Dropped, fields_left

WRONG_UNDER_V = "under v kohya computes 1 / (S + 1), not the paper's sqrt(S) / (S + 1): the effort goes elsewhere"
# fields of [recipe] that are written below, or left for a reason of their own
_CARRIED = ("prediction_type", "zero_terminal_snr", "weighting", "product_on", "density", "sampling", "perturbation",
           "noise")  # fmt: skip
STALE = "kohya's weights keep the SNR from before the rescaling to SNR 0"


def kohya_recipe(config: RunConfig) -> tuple[dict[str, Any], list[Dropped]]:
    """(options, fields without one) of a recipe; kohya's user states what the model decides here."""
    recipe = config.recipe
    left: list[Dropped] = []
    v = recipe.prediction_type == "v_prediction"
    options: dict[str, Any] = {
        "v_parameterization": v if recipe.prediction_type is not None else None,
        "zero_terminal_snr": recipe.zero_terminal_snr or None,
    }
    if recipe.prediction_type not in (None, "epsilon", "v_prediction"):
        left.append(Dropped(f"recipe.prediction_type = {recipe.prediction_type}", "kohya trains epsilon and v"))
    for choice in recipe.weighting:
        options |= _weighting(choice, v, left)
    if len(recipe.weighting) > 1 and v and recipe.product_on == "epsilon":
        left.append(Dropped("recipe.product_on = epsilon", "kohya multiplies several weightings on the v loss"))
    keeps_stale_snr = any(choice.name == "kohya_before_rescale" for choice in recipe.weighting)
    if recipe.weighting and v and recipe.zero_terminal_snr and not keeps_stale_snr:
        left.append(Dropped("recipe.weighting under zero_terminal_snr", STALE))
    left += fields_left(recipe, _CARRIED, "kohya has nothing like it")
    if recipe.sampling.name != "plain":
        left.append(
            Dropped(
                f"recipe.sampling = {recipe.sampling.name}",
                "kohya draws each timestep by itself; the objective is the same",
                "harmless",
            )
        )
    return options | _density(recipe.density, left) | _perturbation(recipe.perturbation, left) | _noise(
        recipe.noise, left
    ), left


def _weighting(choice: Choice, v: bool, left: list[Dropped]) -> dict[str, Any]:
    match choice.name:
        case "min_snr":
            return {"min_snr_gamma": choice.params["gamma"]}
        case "debiased" if choice.params["max_snr"] in (None, 1000.0):
            if v:
                left.append(Dropped("recipe.weighting debiased", WRONG_UNDER_V))
                return {}
            return {"debiased_estimation_loss": True}
        case "kohya_debiased_v" if v:
            return {"debiased_estimation_loss": True}
        case "scale_v_pred_loss_like_noise_pred" if v:
            return {choice.name: True}
        case "epsilon" if v:
            return {"scale_v_pred_loss_like_noise_pred": True}
        case "v_pred_like_loss" if not v:
            return {choice.name: choice.params["scale"]}
        case "kohya_before_rescale" if v:
            from snrlab.core.weights.weighting import WEIGHTINGS

            return _weighting(WEIGHTINGS.parse(choice.params["of"]), v, left)
    left.append(Dropped(f"recipe.weighting {choice.spec}", "kohya has no such weighting"))
    return {}


def _density(choice: Choice | None, left: list[Dropped]) -> dict[str, Any]:
    if choice is None:
        return {}
    if choice.name != "uniform":
        left.append(Dropped(f"recipe.density = {choice.name}", "kohya draws timesteps evenly"))
        return {}
    low, high = choice.params["min_timestep"], choice.params["max_timestep"]
    return {"min_timestep": low or None, "max_timestep": high if high != 1000 else None}


def _perturbation(choice: Choice | None, left: list[Dropped]) -> dict[str, Any]:
    if choice is None:
        return {}
    match choice.name:
        case "ip_noise":
            return {"ip_noise_gamma": choice.params["gamma"] or None}
        case "ip_noise_random":
            if choice.params["per"] != "batch":
                left.append(Dropped("recipe.perturbation per sample", "kohya draws one strength for a batch"))
            return {"ip_noise_gamma": choice.params["gamma"], "ip_noise_gamma_random_strength": True}
    left.append(Dropped(f"recipe.perturbation = {choice.name}", "kohya has a constant strength only"))
    return {}


def _noise(choice: Choice[NoiseProperties] | None, left: list[Dropped]) -> dict[str, Any]:
    if choice is None or choice.name == "gaussian":
        return {}
    if keys := choice.entry.properties.kohya:
        return {
            key.removeprefix("ss_"): True if name is True else choice.params[name] or None for key, name in keys.items()
        }
    left.append(Dropped(f"recipe.noise = {choice.name}", "kohya has no such noise"))
    return {}
