"""[train]: the optimisation."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from snrlab.config.sections.section import BATCH, FREE, Section
from snrlab.config.sections.strategy import LearningRateField, LossField, OptimizerField
from snrlab.config.sections.train_rules import (
    current_spelling,
    refuse_foreign_schedule,
    refuse_impossible,
    refuse_long_warmup,
    warmup_steps,
)
from snrlab.core.errors import UserError
from snrlab.core.learning_rate import LR_SCHEDULES
from snrlab.core.registries.training import LOSSES, OPTIMIZERS, usual

Part = Literal["unet", "text_encoder", "text_encoder_2"]
PARTS: tuple[Part, ...] = get_args(Part)


class TrainConfig(Section):
    """[train]: the optimisation."""

    method: Literal["lora", "full"] = Field("lora", description="Train a LoRA, or all weights.")
    unet: bool = Field(True, description="Train the UNet.")
    text_encoder: bool = Field(False, description="Train the text encoder too.")
    text_encoder_2: bool = Field(False, description="Train SDXL's second text encoder too.")
    steps: int = Field(1000, ge=1, description="Optimizer steps.", json_schema_extra=FREE)
    epochs: int | None = Field(
        None, ge=1, description="Instead of steps: how often every example is seen.", json_schema_extra=FREE
    )
    batch_size: int = Field(1, ge=1, description="Images per forward pass, on each device.", json_schema_extra=BATCH)
    gradient_accumulation: int = Field(
        1, ge=1, description="Forward passes per optimizer step.", json_schema_extra=BATCH
    )
    learning_rate: float = Field(1e-4, gt=0, description="Learning rate after warm-up.")
    unet_learning_rate: float | None = Field(None, gt=0, description="Rate of the UNet; by default learning_rate.")
    text_encoder_learning_rate: float | None = Field(
        None, gt=0, description="Rate of the text encoder; by default learning_rate."
    )
    text_encoder_2_learning_rate: float | None = Field(
        None, gt=0, description="Rate of the second text encoder; by default learning_rate."
    )
    optimizer: OptimizerField = Field(
        default_factory=lambda: usual(OPTIMIZERS, "adamw"), description="What turns gradients into updates."
    )
    warmup: int | float | str = Field(
        0, description='Steps over which the learning rate rises from 0: a number, or a part of all, 0.05 or "5%".'
    )
    lr_schedule: LearningRateField = Field(
        default_factory=lambda: LR_SCHEDULES.bind("cosine"), description="Learning rate after warm-up."
    )
    loss: LossField = Field(
        default_factory=lambda: usual(LOSSES, "mse"), description="What is made of each element's error."
    )
    max_grad_norm: float = Field(1.0, ge=0, description="Gradient norm above which it is scaled down; 0 is none.")
    ema: float | None = Field(
        None, gt=0, lt=1, description="Decay of an average of the weights, which is then what is sampled and saved."
    )
    checkpoint_every: int = Field(100, ge=1, description="Steps between resumable checkpoints.", json_schema_extra=FREE)
    gradient_checkpointing: bool = Field(
        False,
        description="Compute activations again in the backward pass: far less memory, a third more time.",
        json_schema_extra=FREE,
    )
    weights: Literal["fp32", "bf16"] = Field(
        "fp32", description="Number format of trained weights; bf16 (full) is rounded at random, so no update is lost."
    )
    fused_backward: bool = Field(
        False, description="Update each weight during the backward pass, so that only one gradient is held at a time."
    )

    @property
    def warmup_steps(self) -> int:
        """Steps of warm-up."""
        return warmup_steps(self.warmup, self.steps)

    def in_steps(self, examples: int, processes: int = 1) -> TrainConfig:
        """The same with `epochs` over so many examples as steps of so many processes, the last one filled up.

        Raises:
            UserError: the warm-up is longer than that.

        >>> TrainConfig(epochs=3, batch_size=4).in_steps(10).steps
        8
        """
        if self.epochs is None:
            return self
        slots = self.batch_size * self.gradient_accumulation * processes
        found = self.model_copy(update={"steps": -(-self.epochs * examples // slots), "epochs": None})
        refuse_long_warmup(found)
        return found

    @model_validator(mode="before")
    @classmethod
    def _current_spelling(cls, data: Any) -> Any:
        return current_spelling(data) if isinstance(data, dict) else data

    @field_validator("warmup", mode="before")
    @classmethod
    def _readable_warmup(cls, value: Any) -> Any:
        warmup_steps(value, 1)
        return value

    @field_validator("lr_schedule", mode="before")
    @classmethod
    def _known_schedule(cls, value: Any) -> Any:
        refuse_foreign_schedule(value)
        return value

    @property
    def parts(self) -> tuple[Part, ...]:
        """The networks that are trained."""
        return tuple(part for part in PARTS if getattr(self, part))

    @property
    def trains_text(self) -> bool:
        """Whether a text encoder is trained, so that its embeddings change from step to step."""
        return self.text_encoder or self.text_encoder_2

    def rate(self, part: Part) -> float:
        """The learning rate of a network after warm-up."""
        return getattr(self, f"{part}_learning_rate") or self.learning_rate

    @model_validator(mode="after")
    def _rates_are_used(self) -> TrainConfig:
        if not self.parts:
            raise UserError(
                "unet, text_encoder and text_encoder_2 are all false: there is nothing to train.",
                code="nothing-to-do",
                field="unet",
            )
        for part in PARTS:
            if getattr(self, f"{part}_learning_rate") is not None and part not in self.parts:
                raise UserError(
                    f"{part}_learning_rate is set but {part} is not trained; set {part} = true.",
                    code="unused-option",
                    field=f"{part}_learning_rate",
                )
        return self

    @model_validator(mode="after")
    def _possible(self) -> TrainConfig:
        if self.epochs is not None and "steps" in self.model_fields_set:
            raise UserError("give either steps or epochs.", code="conflicting-options", field="steps")
        if self.epochs is None:
            refuse_long_warmup(self)
        refuse_impossible(self)
        return self
