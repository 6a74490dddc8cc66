"""Schema of the run file: all sections together, and the checks between them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from snrlab.config.sections.data import DataConfig
from snrlab.config.sections.log import LogConfig
from snrlab.config.sections.lora import LoraConfig
from snrlab.config.sections.model import ModelConfig
from snrlab.config.sections.output import OutputConfig, SampleConfig, ValidationConfig
from snrlab.config.sections.recipe import RecipeConfig
from snrlab.config.sections.section import Section
from snrlab.config.sections.train import TrainConfig
from snrlab.core.errors import UserError


class RunConfig(Section):
    """Validated content of a run file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)] = Field(
        "run", description="Name of the run folder and of the result: letters, digits, dot, dash, underscore."
    )
    seed: int = Field(0, ge=0, lt=2**63, description="Every random number of the run follows from it.")
    step_seed: int | None = Field(
        None,
        ge=0,
        lt=2**63,
        description="Seed of what each step picks at random: images, timesteps, noise, dropouts, crops; by default "
        "seed, which the adapter's first weights and the held-out images always follow.",
    )
    model: ModelConfig
    data: DataConfig
    recipe: RecipeConfig = Field(default_factory=lambda: RecipeConfig())  # asks the registries
    train: TrainConfig = Field(default_factory=lambda: TrainConfig())  # asks the registries
    lora: LoraConfig = LoraConfig()
    sample: SampleConfig = SampleConfig()
    validation: ValidationConfig = ValidationConfig()
    output: OutputConfig = OutputConfig()
    log: LogConfig = LogConfig()

    @model_validator(mode="after")
    def _check_lora_is_used(self) -> RunConfig:
        if self.train.method == "full" and self.lora.model_fields_set:
            raise UserError(
                '[lora] is set but train.method is "full"; remove one of them.',
                code="conflicting-options",
                field="method",
            )
        if self.train.method == "full" and self.output.lora_format != "kohya":
            raise UserError(
                'output.lora_format is set but train.method is "full"; remove one of them.',
                code="unused-option",
                field="lora_format",
            )
        return self

    @model_validator(mode="after")
    def _check_format_is_used(self) -> RunConfig:
        if self.train.method == "lora" and self.output.format is not None:
            raise UserError(
                'output.format applies to a whole model, but train.method is "lora"; remove it.',
                code="unused-option",
                field="format",
            )
        return self

    @model_validator(mode="after")
    def _check_weights_fit_precision(self) -> RunConfig:
        if self.train.weights == "bf16" and self.model.precision != "bf16":
            raise UserError(
                f'train.weights = "bf16" computes in bf16, but model.precision is "{self.model.precision}": '
                'set model.precision = "bf16".',
                code="conflicting-options",
                field="weights",
            )
        if self.train.fused_backward and self.model.precision == "fp16":
            raise UserError(
                "train.fused_backward updates a weight before it is known whether the gradients of the others fit "
                'fp16, so no step could be taken again: set model.precision = "bf16".',
                code="conflicting-options",
                field="fused_backward",
            )
        return self

    @property
    def seed_of_steps(self) -> int:
        """The seed of what each step picks at random."""
        return self.seed if self.step_seed is None else self.step_seed

    @property
    def single_file(self) -> bool:
        """Whether the result is one file: a LoRA, or a whole model in the layout of single files."""
        if self.train.method == "lora" or self.output.format is not None:
            return self.output.format != "diffusers"
        return (self.model.path or "").lower().endswith(".safetensors")
