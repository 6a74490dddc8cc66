"""What the recipe leaves open, taken from the model; and where the two disagree."""

from __future__ import annotations

import json

import numpy as np

from snrlab.config.recipe import build_recipe, state_recipe
from snrlab.config.run import RunConfig
from snrlab.core.errors import UserError
from snrlab.core.recipe import Recipe
from snrlab.core.schedule import SCHEDULES, NoiseSchedule, recognise
from snrlab.models.components import Components

TRAINABLE = ("epsilon", "v_prediction", "sample")


def resolve_recipe(config: RunConfig, components: Components) -> tuple[RunConfig, Recipe]:
    """The recipe with what it leaves open taken from the model, and the config that states it all.

    Raises:
        UserError: the config and the model disagree without `model.convert`, or nothing can train so.
    """
    own = SCHEDULES.bind("scheduler_config", config=json.dumps(components.scheduler_config))
    name, zero = recognise(own()) or (own, False)  # a name reads better than a copy of the config
    recipe = build_recipe(
        config.recipe, schedule=name, zero_terminal_snr=zero, prediction_type=components.prediction_type
    )
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


def _refuse_disagreement(recipe: Recipe, own: NoiseSchedule, components: Components) -> None:
    table, model_table = recipe.noise_schedule().alphas_cumprod, own.alphas_cumprod
    way_out = "Leave it out to follow the model, or set model.convert = true to train it over."
    if recipe.prediction_type != components.prediction_type:
        raise UserError(
            f"recipe.prediction_type is {recipe.prediction_type}, but {components.label} says it predicts "
            f"{components.prediction_type}. {way_out}"
        )
    if len(table) != len(model_table) or not np.allclose(table, model_table, rtol=1e-6, atol=1e-12):
        zero = recipe.noise_schedule().terminal_snr_is_zero
        what = "recipe.zero_terminal_snr" if zero != (model_table[-1] == 0) else "recipe.schedule"
        raise UserError(f"{what} differs from the schedule of {components.label}. {way_out}")
