"""The recipe of a run: what [recipe] states, and what it leaves open taken from the model.

Explanations, tables, reports and the trainer all get a run file's recipe here, so they cannot disagree about it.
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
    """A run's recipe for showing it.

    Attributes:
        recipe: with nothing left open.
        assumption: what had to be assumed because the model does not say it or is not there; empty where nothing was.
        disagreement: why training would refuse it, where it contradicts the model; else empty.
    """

    recipe: Recipe
    assumption: str = ""
    disagreement: str = ""


def resolve(section: RecipeConfig, model: ModelFacts) -> Recipe:
    """The recipe that a section states, with what it leaves open taken from the model.

    Raises:
        UserError: neither says what the network predicts.
    """
    own = model_schedule(model.scheduler_config)
    # a name reads better than a copy of the config
    name, zero = recognise_schedule(own) or (_as_choice(model.scheduler_config), False)
    prediction_type = section.prediction_type or model.prediction_type
    if prediction_type is None:
        raise UserError(
            f"recipe.prediction_type is not set, and {model.label} does not say what it predicts "
            f"({model.prediction_source}). Set recipe.prediction_type to v_prediction or epsilon; its model page "
            "or a .yaml file beside it says which (parameterization: v).",
            code="unknown-prediction-type",
        )
    return build_recipe(section, schedule=name, zero_terminal_snr=zero, prediction_type=prediction_type)


def resolve_to_show(config: RunConfig) -> ResolvedRecipe:
    """The recipe of a run file or run folder, for commands that show it and never load the model.

    A recipe that states everything, as that of a started run does, needs no model. Where one is needed and cannot be
    read, or does not say what it predicts, the recipe is completed with SD 1.5's convention and says so.
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
        taken = RecipeConfig.model_validate({**_stated(section), "prediction_type": "epsilon"})
        return ResolvedRecipe(
            resolve(taken, model),
            f"{model.label} does not say what it predicts ({model.prediction_source}): taken as epsilon. Training "
            "asks for recipe.prediction_type.",
        )
    recipe = resolve(section, model)
    return ResolvedRecipe(recipe, disagreement="" if config.model.convert else disagreement(recipe, model))


def complete_recipe(section: RecipeConfig) -> Recipe:
    """The recipe of a section that leaves nothing open, as results of ours carry it in their metadata.

    Raises:
        UserError: it leaves the schedule or the prediction type open.
    """
    if section.schedule is None or section.prediction_type is None:
        raise UserError("the recipe leaves its schedule or prediction type open; state both.", code="missing-value")
    return build_recipe(section, schedule=section.schedule, prediction_type=section.prediction_type)


def resolve_to_train(config: RunConfig, model: ModelFacts) -> tuple[RunConfig, Recipe]:
    """The recipe of a run that is about to be trained, and the config that states all of it.

    Raises:
        UserError: the config and the model disagree without `model.convert`, neither says what the model predicts, or
            nothing can train so.
    """
    recipe = resolve(config.recipe, model)
    refuse_untrainable(recipe)
    contradiction = "" if config.model.convert else disagreement(recipe, model)
    if contradiction:
        raise UserError(contradiction, code="contradicts-model")
    return config.model_copy(update={"recipe": state_recipe(recipe)}), recipe


def disagreement(recipe: Recipe, model: ModelFacts) -> str:
    """How a recipe contradicts the model, with the way out; empty where it does not.

    What a model does not say of itself cannot be contradicted.
    """
    way_out = "Leave it out to follow the model, or set model.convert = true to train it over."
    if recipe.prediction_type != model.prediction_type and "prediction_type" not in model.assumed:
        return (
            f"recipe.prediction_type is {recipe.prediction_type}, but {model.label} says it predicts "
            f"{model.prediction_type} ({model.prediction_source}). {way_out}"
        )
    own = model_schedule(model.scheduler_config)
    allowed = [own, *([zero_terminal_snr(own)] if "zero_terminal_snr" in model.assumed else [])]
    if not any(_equal(recipe.noise_schedule(), schedule) for schedule in allowed):
        zero = recipe.noise_schedule().terminal_snr_is_zero
        field = "recipe.zero_terminal_snr" if zero != own.terminal_snr_is_zero else "recipe.schedule"
        return f"{field} differs from the schedule of {model.label}. {way_out}"
    return ""


def refuse_untrainable(recipe: Recipe) -> None:
    """Refuse what these families cannot be trained to do (UserError)."""
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
    schedule: NoiseSchedule = _as_choice(scheduler_config)()
    return schedule


def trained_scheduler(scheduler_config: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    """The base's scheduler config, saying the prediction type and schedule that were trained."""
    config = {**scheduler_config, "prediction_type": recipe.prediction_type}
    trained = recipe.noise_schedule()
    if trained.terminal_snr_is_zero:
        # a sampler that leaves out the last step misses the pure noise it was trained on
        config["timestep_spacing"] = "trailing"
    for attempt in (config, *({**config, "rescale_betas_zero_snr": zero} for zero in (False, True))):
        if _equal(model_schedule(attempt), trained, atol=1e-8):
            return attempt
    betas = 1 - trained.alphas_cumprod / np.r_[1.0, trained.alphas_cumprod[:-1]]
    return {**config, "rescale_betas_zero_snr": False, "trained_betas": betas.tolist()}


def _as_choice(scheduler_config: Mapping[str, Any]) -> Choice:
    return SCHEDULES.bind("scheduler_config", config=json.dumps(dict(scheduler_config)))


def _stated(section: RecipeConfig) -> dict[str, Any]:
    return {name: getattr(section, name) for name in section.model_fields_set}


def _equal(one: NoiseSchedule, other: NoiseSchedule, atol: float = 1e-12) -> bool:
    a, b = one.alphas_cumprod, other.alphas_cumprod
    return len(a) == len(b) and np.allclose(a, b, rtol=1e-6, atol=atol)
