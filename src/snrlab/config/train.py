"""[train]: the optimisation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from snrlab.config.section import Section
from snrlab.core.errors import UserError


class TrainConfig(Section):
    """[train]: the optimisation."""

    method: Literal["lora", "full"] = Field("lora", description="Train a LoRA, or all weights of the UNet.")
    text_encoder: bool = Field(False, description="Train the text encoder too.")
    steps: int = Field(1000, ge=1, description="Optimizer steps.")
    batch_size: int = Field(1, ge=1, description="Images per forward pass.")
    gradient_accumulation: int = Field(1, ge=1, description="Forward passes per optimizer step.")
    learning_rate: float = Field(1e-4, gt=0, description="AdamW's learning rate after warm-up.")
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

    @model_validator(mode="after")
    def _warmup_fits(self) -> TrainConfig:
        if self.warmup_steps >= self.steps:
            raise UserError(f"warmup_steps is {self.warmup_steps}; it must be below steps, {self.steps}.")
        return self
