"""[model]: the base model that is trained. Forms, docs and `--help` show the field descriptions."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from snrlab.config.sections.section import FREE, PLACE, Section
from snrlab.core.errors import UserError

Precision = Literal["fp32", "bf16", "fp16"]
ShippedModel = Literal["small", "small_v"]
RandomModel = Literal["small", "pixels"]


class ModelConfig(Section):
    """[model]: the base model that is trained."""

    path: str | None = Field(
        None,
        description="SD 1.5, SD 2 or SDXL model: a .safetensors file, or a folder in diffusers layout.",
        json_schema_extra=PLACE,
    )
    shipped: ShippedModel | None = Field(
        None, description="Instead of path: a small model that ships; small_v predicts v and ends at SNR 0."
    )
    random: RandomModel | None = Field(
        None, description="Instead of path: small with random weights from the seed; pixels needs no autoencoder."
    )
    vae: str | None = Field(
        None,
        description="Autoencoder to use instead of the model's own: a .safetensors file, or a folder.",
        json_schema_extra=PLACE,
    )
    clip_skip: int | None = Field(
        None,
        ge=1,
        le=12,
        description="Layer of SD 1.5's text encoder to condition on, counted from the last, 1, as kohya does. "
        "SD 2 and SDXL always take the second last.",
    )
    max_tokens: Literal[75, 150, 225] = Field(
        75, description="Tokens of a caption that are read; beyond 75 in chunks of 75 (kohya's max_token_length)."
    )
    precision: Precision = Field(
        "fp32", description="Arithmetic of UNet and text encoders; trained weights stay in fp32, and so does the VAE."
    )
    probe: bool = Field(
        True,
        description="Before training, refuse a model that clearly predicts something else than it would be trained to; "
        "not where convert means to.",
        json_schema_extra=FREE,
    )
    convert: bool = Field(
        False, description="Train the model on another schedule or prediction type than it says of itself."
    )

    @model_validator(mode="after")
    def _check_one_source(self) -> ModelConfig:
        if sum(source is not None for source in (self.path, self.shipped, self.random)) != 1:
            raise UserError(
                'give one of path = "MODEL", shipped = "NAME" and random = "NAME".',
                code="conflicting-options",
                field="path",
            )
        if self.vae is not None and self.path is None:
            raise UserError(
                "vae replaces the autoencoder of path; the models that ship have their own.",
                code="unused-option",
                field="vae",
            )
        return self
