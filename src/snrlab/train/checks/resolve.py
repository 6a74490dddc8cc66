"""What the recipe leaves open, taken from the model; and where the two disagree."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from snrlab.config.run import RunConfig
from snrlab.config.sections.recipe import build_recipe, state_recipe
from snrlab.core.errors import UserError
from snrlab.core.recipe import Recipe
from snrlab.core.schedule import SCHEDULES, NoiseSchedule, recognise, zero_terminal_snr
from snrlab.models.components import Components

TRAINABLE = ("epsilon", "v_prediction", "sample")


def resolve_recipe(config: RunConfig, components: Components) -> tuple[RunConfig, Recipe]:
    """The recipe with what it leaves open taken from the model, and the config that states it all.

    Raises:
        UserError: the config and the model disagree without `model.convert`, neither says what the model predicts, or
            nothing can train so.
    """
    own = SCHEDULES.bind("scheduler_config", config=json.dumps(components.scheduler_config))
    name, zero = recognise(own()) or (own, False)  # a name reads better than a copy of the config
    prediction_type = config.recipe.prediction_type or _known_prediction_type(components)
    recipe = build_recipe(config.recipe, schedule=name, zero_terminal_snr=zero, prediction_type=prediction_type)
    if recipe.prediction_type not in TRAINABLE:
        raise UserError(
            f"recipe.prediction_type: {recipe.prediction_type} cannot be trained with this family; "
            f"allowed: {', '.join(TRAINABLE)}."
        )
    if recipe.noise_schedule().path != "variance_preserving":
        raise UserError(f"recipe.schedule: {recipe.schedule.name} is not variance preserving; this family needs that.")
    if not config.model.convert:
        _refuse_disagreement(recipe, own(), components)
    return config.model_copy(update={"recipe": state_recipe(recipe)}), recipe


def _known_prediction_type(components: Components) -> str:
    if components.prediction_type is None:
        raise UserError(
            f"recipe.prediction_type is not set, and {components.label} does not say what it predicts "
            f"({components.prediction_source}). Set recipe.prediction_type to v_prediction or epsilon; its model page "
            "or a .yaml file beside it says which (parameterization: v)."
        )
    return components.prediction_type


def _refuse_disagreement(recipe: Recipe, own: NoiseSchedule, components: Components) -> None:
    """Refuse what contradicts the model; what it does not say of itself cannot be contradicted."""
    way_out = "Leave it out to follow the model, or set model.convert = true to train it over."
    found, stated = components.prediction_type, recipe.prediction_type
    if stated != found and "prediction_type" not in components.assumed:
        raise UserError(
            f"recipe.prediction_type is {stated}, but {components.label} says it predicts {found} "
            f"({components.prediction_source}). {way_out}"
        )
    same = [own]
    if "zero_terminal_snr" in components.assumed:
        same.append(zero_terminal_snr(own))
    if not any(_equal(recipe.noise_schedule(), schedule) for schedule in same):
        zero = recipe.noise_schedule().terminal_snr_is_zero
        what = "recipe.zero_terminal_snr" if zero != own.terminal_snr_is_zero else "recipe.schedule"
        raise UserError(f"{what} differs from the schedule of {components.label}. {way_out}")


def _equal(one: NoiseSchedule, other: NoiseSchedule) -> bool:
    a, b = one.alphas_cumprod, other.alphas_cumprod
    return len(a) == len(b) and np.allclose(a, b, rtol=1e-6, atol=1e-12)


def trained_scheduler(components: Components, recipe: Recipe) -> dict[str, Any]:
    """The base's scheduler config, saying the prediction type and schedule that were trained."""
    config = {**components.scheduler_config, "prediction_type": recipe.prediction_type}
    trained = recipe.noise_schedule()
    if trained.terminal_snr_is_zero:
        config["timestep_spacing"] = (
            "trailing"  # a sampler that leaves out the last step misses the pure noise it was trained on
        )
    for attempt in (config, *({**config, "rescale_betas_zero_snr": zero} for zero in (False, True))):
        table = SCHEDULES.bind("scheduler_config", config=json.dumps(attempt))().alphas_cumprod
        if len(table) == len(trained.alphas_cumprod) and np.allclose(table, trained.alphas_cumprod, rtol=1e-6):
            return attempt
    betas = 1 - trained.alphas_cumprod / np.r_[1.0, trained.alphas_cumprod[:-1]]
    return {**config, "rescale_betas_zero_snr": False, "trained_betas": betas.tolist()}
