"""[model]: what is trained. Field descriptions are what forms, docs and `--help` show."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from snrlab.config.section import Section
from snrlab.core.errors import UserError

Precision = Literal["fp32", "bf16"]
ShippedModel = Literal["small", "small_v"]
RandomModel = Literal["small", "pixels"]


class ModelConfig(Section):
    """[model]: what is trained."""

    path: str | None = Field(None, description="Folder of a Stable Diffusion 1.5 style model in diffusers layout.")
    shipped: ShippedModel | None = Field(
        None, description="Instead of path: a small model that ships; small_v predicts v and ends at SNR 0."
    )
    random: RandomModel | None = Field(
        None, description="Instead of path: small with random weights from the seed; pixels needs no autoencoder."
    )
    precision: Precision = Field("fp32", description="Arithmetic of the network; trained weights stay in fp32.")
    convert: bool = Field(
        False, description="Train the model on another schedule or prediction type than it says of itself."
    )

    @model_validator(mode="after")
    def _one_source(self) -> ModelConfig:
        if sum(source is not None for source in (self.path, self.shipped, self.random)) != 1:
            raise UserError('give one of path = "FOLDER", shipped = "NAME" and random = "NAME".')
        return self
