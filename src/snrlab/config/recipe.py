"""From the [recipe] section to a `Recipe`, and back."""

from __future__ import annotations

from snrlab.config.run import RecipeConfig
from snrlab.core.density import DENSITIES
from snrlab.core.recipe import Recipe
from snrlab.core.registry import Choice


def build_recipe(
    stated: RecipeConfig, *, schedule: Choice, prediction_type: str, zero_terminal_snr: bool = False
) -> Recipe:
    """The recipe that a section states, with these for what it leaves to the model."""
    zero = stated.zero_terminal_snr
    if zero is None:
        zero = zero_terminal_snr and stated.schedule is None
    return Recipe(
        schedule=stated.schedule or schedule,
        zero_terminal_snr=zero,
        prediction_type=stated.prediction_type or prediction_type,  # type: ignore[arg-type]  # checked by Recipe
        weighting=tuple(stated.weighting),
        product_on=stated.product_on,
        max_weight=stated.max_weight,
        min_weight=stated.min_weight,
        normalize=stated.normalize,
        density=stated.density or DENSITIES.bind("uniform"),
        sampling=stated.sampling,
        perturbation=stated.perturbation,
        noise=stated.noise,
    )


def state_recipe(recipe: Recipe) -> RecipeConfig:
    """The section that states all of a recipe, leaving nothing to the model."""
    fields = {name: getattr(recipe, name) for name in RecipeConfig.model_fields}
    return RecipeConfig(**{**fields, "weighting": list(recipe.weighting)})
