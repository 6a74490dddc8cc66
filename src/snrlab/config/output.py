"""[validation], [sample] and [output]: what a run measures, draws and writes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from snrlab.config.section import Section
from snrlab.core.errors import UserError


class ValidationConfig(Section):
    """[validation]: unweighted losses by SNR band on images that are not trained on (validation.jsonl)."""

    images: int = Field(0, ge=0, description="Images held back from training and measured; 0 measures none.")
    every: int = Field(0, ge=0, description="Steps between measurements, besides the first and last; 0 is none.")

    @model_validator(mode="after")
    def _something_to_measure(self) -> ValidationConfig:
        if self.every and not self.images:
            raise UserError("every is set but images is 0: there is nothing to measure.")
        return self


class SampleConfig(Section):
    """[sample]: pictures made while training and at the end, always from the same noise."""

    prompts: list[str] = Field(default_factory=list, description="One picture each; none makes no pictures.")
    every: int = Field(0, ge=0, description="Steps between grids; 0 samples at the end only.")
    steps: int = Field(25, ge=1, le=1000, description="Sampler steps (DDIM).")
    guidance: float = Field(5.0, ge=1, le=100, description="Classifier-free guidance; 1 is none.")
    negative: str = Field("", description="Negative prompt.")
    seed: int = Field(0, ge=0, description="Seed of the starting noise.")
    epsilon_scaling: float = Field(
        1.0, ge=0.5, le=2, description="Divides the predicted noise while sampling (Epsilon Scaling); 1 is off."
    )


class OutputConfig(Section):
    """[output]: the finished file."""

    precision: Literal["fp32", "fp16", "bf16"] = Field("fp16", description="Number format of the saved weights.")
    lora_format: Literal["kohya", "peft"] = Field(
        "kohya", description="Names in a LoRA file: kohya's, which every program reads, or peft's (diffusers)."
    )
    format: Literal["diffusers", "single_file"] | None = Field(
        None,
        description="Of a model whose weights were all trained: a folder, or one file as web UIs take it; by default "
        "what model.path is.",
    )
    every: int = Field(
        0, ge=0, description="Steps between LoRA files saved on the way, NAME-step00000100.safetensors; 0 saves none."
    )
    dates: bool = Field(True, description="Write dates and timings; without them equal runs give equal bytes.")
