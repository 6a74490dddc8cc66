"""[recipe]: how effort is spread over noise levels, and its conversion to a `Recipe` and back."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from snrlab.config.sections.section import Section
from snrlab.config.sections.strategy import (
    DensityField,
    NoiseField,
    PerturbationField,
    SamplingField,
    ScheduleField,
    WeightingField,
)
from snrlab.core.prediction import PREDICTION_TYPES, PredictionType
from snrlab.core.recipe import Recipe
from snrlab.core.registries.aliases import canonical
from snrlab.core.registries.registry import Choice
from snrlab.core.stages import Stage
from snrlab.core.timesteps.timestep_sampling import SAMPLINGS
from snrlab.core.weights.loss_weight import ProductOn

# one weighting may be written without the brackets of a list: weighting = "min_snr"
ONE_OR_MORE = BeforeValidator(lambda value: [value] if isinstance(value, str) else value)


def _prediction_type(value: Any) -> Any:
    """The full name of a prediction type, such as v_prediction for v; what is unknown is left to the field's check."""
    return canonical(value, PREDICTION_TYPES) or value if isinstance(value, str) else value


class StageConfig(Section):
    """[[recipe.stages]]: what the recipe changes to at a step; what a stage leaves out stays as it was before it."""

    from_step: int = Field(ge=1, description="First optimizer step of the stage, counted from 0.")
    weighting: Annotated[list[WeightingField] | None, ONE_OR_MORE] = Field(
        None, description="Loss weightings, multiplied; [] is none."
    )
    max_weight: float | None = Field(None, gt=0, description="Upper limit of the weight from here on.")
    min_weight: float | None = Field(None, gt=0, description="Lower limit of the weight from here on.")
    normalize: bool | None = Field(None, description="Whether the weight is scaled to mean 1 from here on.")
    density: DensityField | None = Field(None, description="How often each timestep is drawn from here on.")
    perturbation: PerturbationField | None = Field(
        None, description="Extra noise on the network's input from here on; a strength of 0 is none."
    )

    @property
    def stage(self) -> Stage:
        """The same as a part of a recipe."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        weighting = None if self.weighting is None else tuple(self.weighting)
        return Stage(**{**values, "weighting": weighting})

    @classmethod
    def of(cls, stage: Stage) -> StageConfig:
        """The section that states a part of a recipe."""
        changes = stage.changes
        if "weighting" in changes:
            changes["weighting"] = list(changes["weighting"])
        return cls(from_step=stage.from_step, **changes)


class RecipeConfig(Section):
    """[recipe]: how effort is spread over noise levels. What is not stated comes from the model."""

    schedule: ScheduleField | None = Field(None, description="Noise schedule; by default the model's.")
    zero_terminal_snr: bool | None = Field(None, description="Rescale the schedule to end at SNR 0.")
    prediction_type: Annotated[PredictionType | None, BeforeValidator(_prediction_type)] = Field(
        None, description="What the network predicts."
    )
    weighting: Annotated[list[WeightingField], ONE_OR_MORE] = Field(
        default_factory=list, description="Loss weightings, multiplied."
    )
    product_on: ProductOn = Field("epsilon", description="Where several weightings multiply.")
    max_weight: float | None = Field(None, gt=0, description="Upper limit of the weight on the network's own loss.")
    min_weight: float | None = Field(None, gt=0, description="Lower limit of the weight on the network's own loss.")
    normalize: bool = Field(False, description="Scale the weight to mean 1 under the density.")
    density: DensityField | None = Field(None, description="How often each timestep is drawn; by default uniform.")
    sampling: SamplingField = Field(
        default_factory=lambda: SAMPLINGS.bind("stratified"),
        description="How timesteps are drawn from the density; it never changes the objective.",
    )
    perturbation: PerturbationField | None = Field(None, description="Extra noise on the network's input only.")
    noise: NoiseField | None = Field(None, description="Shape of the noise that is predicted; by default Gaussian.")
    stages: list[StageConfig] = Field(
        default_factory=list, description="What changes during training: a list of tables, one for each stage."
    )


def build_recipe(
    section: RecipeConfig, *, schedule: Choice, prediction_type: str, zero_terminal_snr: bool = False
) -> Recipe:
    """The recipe of a section, with these values of the model's where it leaves them out."""
    of_model = {
        "schedule": schedule,
        "prediction_type": prediction_type,
        "zero_terminal_snr": zero_terminal_snr and section.schedule is None,
    }
    values = {name: getattr(section, name) for name in RecipeConfig.model_fields}
    stated = {name: value for name, value in values.items() if value is not None}
    stages = tuple(stage.stage for stage in section.stages)
    return Recipe(**{**of_model, **stated, "weighting": tuple(section.weighting), "stages": stages})


def state_recipe(recipe: Recipe) -> RecipeConfig:
    """The section that states every field of a recipe and leaves nothing to the model."""
    fields = {name: getattr(recipe, name) for name in RecipeConfig.model_fields}
    stages = [StageConfig.of(stage) for stage in recipe.stages]
    return RecipeConfig(**{**fields, "weighting": list(recipe.weighting), "stages": stages})
