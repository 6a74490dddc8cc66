"""Resolution of a run's recipe: [recipe] states a part, and the base model fills in what it leaves open.

Explanations, tables, reports and the trainer all resolve a run file here, so they cannot disagree about it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from snrlab.config.run import RunConfig
from snrlab.config.sections.recipe import RecipeConfig, build_recipe, state_recipe
from snrlab.core.errors import UserError
from snrlab.core.recipe import Recipe
from snrlab.core.registries.registry import Choice
from snrlab.core.schedule import SCHEDULES, NoiseSchedule, recognise_schedule, zero_terminal_snr
from snrlab.model_files.model_facts import ModelFacts, facts_or_assumption

TRAINABLE = ("epsilon", "v_prediction", "sample")


@dataclass(frozen=True)
class ResolvedRecipe:
    """A complete recipe to be shown.

    Attributes:
        recipe: with nothing left open.
        assumption: what had to be assumed, because the model does not state it or cannot be read; else empty.
        disagreement: why training would refuse the recipe, if it contradicts the model; else empty.
    """

    recipe: Recipe
    assumption: str = ""
    disagreement: str = ""


def resolve(section: RecipeConfig, model: ModelFacts) -> Recipe:
    """Build the recipe of a section, filling in what it leaves open from the model.

    Raises:
        UserError: neither says what the network predicts.
    """
    schedule = model_schedule(model.scheduler_config)
    # a schedule's name reads better than a copy of the scheduler config
    name, zero_terminal = recognise_schedule(schedule) or (_schedule_choice(model.scheduler_config), False)
    prediction_type = section.prediction_type or model.prediction_type
    if prediction_type is None:
        raise UserError(
            f"recipe.prediction_type is not set, and {model.label} does not say what it predicts "
            f"({model.prediction_source}). Set recipe.prediction_type to v_prediction or epsilon; its model page "
            "or a .yaml file beside it says which (parameterization: v).",
            code="unknown-prediction-type",
        )
    return build_recipe(section, schedule=name, zero_terminal_snr=zero_terminal, prediction_type=prediction_type)


def resolve_to_show(config: RunConfig) -> ResolvedRecipe:
    """Resolve the recipe of a run file or run folder for commands that show it and never load the model.

    A recipe that states everything, like that of a started run, needs no model. If the model is needed but cannot be
    read, or does not say what it predicts, the recipe is completed with SD 1.5's convention and `assumption` says so.
    """
    section = config.recipe
    model = facts_or_assumption(config.model)
    if model.missing:
        complete = None not in (section.schedule, section.zero_terminal_snr, section.prediction_type)
        return ResolvedRecipe(
            resolve(section, model),
            "" if complete else f"The model is taken as SD 1.5, for it could not be read: {model.missing}",
        )
    if section.prediction_type is None and model.prediction_type is None:
        assumed = RecipeConfig.model_validate({**_stated_fields(section), "prediction_type": "epsilon"})
        return ResolvedRecipe(
            resolve(assumed, model),
            f"{model.label} does not say what it predicts ({model.prediction_source}): taken as epsilon. Training "
            "asks for recipe.prediction_type.",
        )
    recipe = resolve(section, model)
    return ResolvedRecipe(recipe, disagreement="" if config.model.convert else disagreement(recipe, model))


def complete_recipe(section: RecipeConfig) -> Recipe:
    """Build the recipe of a section that leaves nothing open, such as the one in the metadata of our results.

    Raises:
        UserError: it leaves the schedule or the prediction type open.
    """
    if section.schedule is None or section.prediction_type is None:
        raise UserError("the recipe leaves its schedule or prediction type open; state both.", code="missing-value")
    return build_recipe(section, schedule=section.schedule, prediction_type=section.prediction_type)


def resolve_to_train(config: RunConfig, model: ModelFacts) -> tuple[RunConfig, Recipe]:
    """Resolve the recipe of a run before training: (config that states all of it, recipe).

    Raises:
        UserError: the config and the model disagree without `model.convert`, neither says what the model predicts, or
            the recipe cannot be trained.
    """
    recipe = resolve(config.recipe, model)
    refuse_untrainable(recipe)
    contradiction = "" if config.model.convert else disagreement(recipe, model)
    if contradiction:
        raise UserError(contradiction, code="contradicts-model")
    return config.model_copy(update={"recipe": state_recipe(recipe)}), recipe


def disagreement(recipe: Recipe, model: ModelFacts) -> str:
    """Message on how a recipe contradicts the model, with the way out; empty if it does not.

    What a model does not state about itself cannot be contradicted.
    """
    way_out = "Leave it out to follow the model, or set model.convert = true to train it over."
    if recipe.prediction_type != model.prediction_type and "prediction_type" not in model.assumed:
        return (
            f"recipe.prediction_type is {recipe.prediction_type}, but {model.label} says it predicts "
            f"{model.prediction_type} ({model.prediction_source}). {way_out}"
        )
    base_schedule = model_schedule(model.scheduler_config)
    allowed = [base_schedule, *([zero_terminal_snr(base_schedule)] if "zero_terminal_snr" in model.assumed else [])]
    if not any(_same_schedule(recipe.noise_schedule(), schedule) for schedule in allowed):
        zero_terminal = recipe.noise_schedule().terminal_snr_is_zero
        field = "recipe.zero_terminal_snr" if zero_terminal != base_schedule.terminal_snr_is_zero else "recipe.schedule"
        return f"{field} differs from the schedule of {model.label}. {way_out}"
    return ""


def refuse_untrainable(recipe: Recipe) -> None:
    """Raise UserError for a recipe that these families cannot be trained with."""
    if recipe.prediction_type not in TRAINABLE:
        raise UserError(
            f"recipe.prediction_type: {recipe.prediction_type} cannot be trained with this family; "
            f"allowed: {', '.join(TRAINABLE)}.",
            code="not-supported",
        )
    if recipe.noise_schedule().path != "variance_preserving":
        raise UserError(
            f"recipe.schedule: {recipe.schedule.name} is not variance preserving; this family needs that.",
            code="not-supported",
        )


def model_schedule(scheduler_config: Mapping[str, Any]) -> NoiseSchedule:
    """The noise schedule that a scheduler config describes."""
    schedule: NoiseSchedule = _schedule_choice(scheduler_config)()
    return schedule


def trained_scheduler(scheduler_config: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    """Scheduler config of the trained model: that of the base model with the trained prediction type and schedule."""
    config = {**scheduler_config, "prediction_type": recipe.prediction_type}
    trained = recipe.noise_schedule()
    if trained.terminal_snr_is_zero:
        # a sampler that skips the last timestep would never start from the pure noise that was trained on
        config["timestep_spacing"] = "trailing"
    for candidate in (config, *({**config, "rescale_betas_zero_snr": rescale} for rescale in (False, True))):
        if _same_schedule(model_schedule(candidate), trained, atol=1e-8):
            return candidate
    betas = 1 - trained.alphas_cumprod / np.r_[1.0, trained.alphas_cumprod[:-1]]
    return {**config, "rescale_betas_zero_snr": False, "trained_betas": betas.tolist()}


def _schedule_choice(scheduler_config: Mapping[str, Any]) -> Choice:
    return SCHEDULES.bind("scheduler_config", config=json.dumps(dict(scheduler_config)))


def _stated_fields(section: RecipeConfig) -> dict[str, Any]:
    return {name: getattr(section, name) for name in section.model_fields_set}


def _same_schedule(first: NoiseSchedule, second: NoiseSchedule, atol: float = 1e-12) -> bool:
    a, b = first.alphas_cumprod, second.alphas_cumprod
    return len(a) == len(b) and np.allclose(a, b, rtol=1e-6, atol=atol)
