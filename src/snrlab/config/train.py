"""[train]: the optimisation."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field, model_validator

from snrlab.config.section import Section
from snrlab.core.errors import UserError

Part = Literal["unet", "text_encoder", "text_encoder_2"]
PARTS: tuple[Part, ...] = get_args(Part)


class TrainConfig(Section):
    """[train]: the optimisation."""

    method: Literal["lora", "full"] = Field("lora", description="Train a LoRA, or all weights.")
    unet: bool = Field(True, description="Train the UNet.")
    text_encoder: bool = Field(False, description="Train the text encoder too.")
    text_encoder_2: bool = Field(False, description="Train SDXL's second text encoder too.")
    steps: int = Field(1000, ge=1, description="Optimizer steps.")
    batch_size: int = Field(1, ge=1, description="Images per forward pass.")
    gradient_accumulation: int = Field(1, ge=1, description="Forward passes per optimizer step.")
    learning_rate: float = Field(1e-4, gt=0, description="AdamW's learning rate after warm-up.")
    unet_learning_rate: float | None = Field(None, gt=0, description="Rate of the UNet; by default learning_rate.")
    text_encoder_learning_rate: float | None = Field(
        None, gt=0, description="Rate of the text encoder; by default learning_rate."
    )
    text_encoder_2_learning_rate: float | None = Field(
        None, gt=0, description="Rate of the second text encoder; by default learning_rate."
    )
    weight_decay: float = Field(0.01, ge=0, description="AdamW's weight decay.")
    beta1: float = Field(0.9, ge=0, lt=1, description="AdamW's first moment decay.")
    beta2: float = Field(0.999, ge=0, lt=1, description="AdamW's second moment decay.")
    warmup_steps: int = Field(0, ge=0, description="Steps over which the learning rate rises from 0.")
    lr_schedule: Literal["constant", "cosine"] = Field("cosine", description="Learning rate after warm-up.")
    max_grad_norm: float | None = Field(1.0, gt=0, description="Gradient norm above which gradients are scaled down.")
    ema: float | None = Field(
        None, gt=0, lt=1, description="Decay of an average of the weights, which is then what is sampled and saved."
    )
    checkpoint_every: int = Field(100, ge=1, description="Steps between resumable checkpoints.")

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
            raise UserError("unet, text_encoder and text_encoder_2 are all false: there is nothing to train.")
        for part in PARTS:
            if getattr(self, f"{part}_learning_rate") is not None and part not in self.parts:
                raise UserError(f"{part}_learning_rate is set but {part} is not trained; set {part} = true.")
        return self

    @model_validator(mode="after")
    def _warmup_fits(self) -> TrainConfig:
        if self.warmup_steps >= self.steps:
            raise UserError(f"warmup_steps is {self.warmup_steps}; it must be below steps, {self.steps}.")
        return self
