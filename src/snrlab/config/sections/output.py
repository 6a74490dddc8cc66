"""[validation], [sample] and [output]: measurements, pictures and results of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from snrlab.config.prompts import check_lines, parse_line, read_lines
from snrlab.config.sections.section import FREE, PLACE, Section
from snrlab.core.errors import UserError
from snrlab.core.registries.samplers import DEFAULT_SAMPLER, NAMES_IN_SHORT, check_epsilon_scaling, sampler_named

_MEASUREMENTS = 10  # of a run by default, besides the one before its first step
_FORWARD_PASSES = 12  # of each image in a measurement: three noise levels in each of four bands
_PASSES_OF_TRAINING = 3  # forward passes that cost as much as one forward and backward
_SHARE_OF_TRAINING = 0.1  # that the measurements on the way may cost


class ValidationConfig(Section):
    """[validation]: unweighted losses by SNR band on images that are not trained on (validation.jsonl)."""

    images: int = Field(0, ge=0, description="Images held back from training and measured; 0 holds none back.")
    folder: str | None = Field(
        None, description="Instead of images: a folder of images with captions to measure on.", json_schema_extra=PLACE
    )
    every: int | None = Field(
        None,
        ge=0,
        description="Steps between measurements, besides the first and last; 0 is none. By default there are ten, or "
        "fewer where these would cost more than a tenth of the training.",
        json_schema_extra=FREE,
    )
    every_epochs: int = Field(0, ge=0, description="The same in epochs.", json_schema_extra=FREE)

    @model_validator(mode="after")
    def _check_images(self) -> ValidationConfig:
        _check_one_interval(self.every, self.every_epochs)
        if self.images and self.folder is not None:
            raise UserError(
                "images and folder are both set; give one of them.", code="conflicting-options", field="images"
            )
        if (self.every or self.every_epochs) and not self.images and self.folder is None:
            name = "every" if self.every else "every_epochs"
            raise UserError(
                f"{name} is set but images is 0 and there is no folder: there is nothing to measure.",
                code="unused-option",
                field=name,
            )
        return self

    def in_steps(self, steps: int, batch: int, images: int) -> ValidationConfig:
        """This section with its default interval as a number of steps.

        Args:
            steps: steps of the run.
            batch: images of a step, over accumulation and processes.
            images: images that are measured.
        """
        if self.every is not None or self.every_epochs or not images:
            return self
        measurement = images * _FORWARD_PASSES / _PASSES_OF_TRAINING  # costs as much as training on so many images
        affordable = _SHARE_OF_TRAINING * steps * batch / measurement
        count = min(_MEASUREMENTS, int(affordable) + 1)  # with the last one, which there always is
        return self.model_copy(update={"every": -(-steps // count)})


class SampleConfig(Section):
    """[sample]: pictures made while training and at the end, always from the same noise."""

    prompts: list[str] = Field(
        default_factory=list,
        description="One picture each, none makes no pictures. A line may say more of its picture, as kohya's do: "
        "--n negative --w width --h height --d seed --l guidance --s steps --ss sampler.",
        json_schema_extra=FREE,
    )
    prompts_file: str | None = Field(
        None,
        description="Text file of such lines, # before comments; the resolved run holds them in prompts.",
        json_schema_extra=FREE,
    )
    every: int = Field(
        0, ge=0, description="Steps between grids, besides the first and last; 0 is none.", json_schema_extra=FREE
    )
    every_epochs: int = Field(0, ge=0, description="The same in epochs.", json_schema_extra=FREE)
    at_start: bool = Field(True, description="Make pictures before the first step too.", json_schema_extra=FREE)
    steps: int = Field(25, ge=1, le=1000, description="Sampler steps.", json_schema_extra=FREE)
    sampler: str = Field(
        DEFAULT_SAMPLER,
        description=f"Sampler: {NAMES_IN_SHORT}",
        json_schema_extra=FREE,
    )
    guidance: float = Field(
        5.0, ge=1, le=100, description="Classifier-free guidance; 1 is none.", json_schema_extra=FREE
    )
    negative: str = Field("", description="Negative prompt.", json_schema_extra=FREE)
    seed: int = Field(0, ge=0, description="Seed of the starting noise and of the sampler's.", json_schema_extra=FREE)
    epsilon_scaling: float = Field(
        1.0,
        ge=0.5,
        le=2,
        description="Divides the predicted noise while sampling (Epsilon Scaling); 1 is off.",
        json_schema_extra=FREE,
    )

    @field_validator("prompts")
    @classmethod
    def _check_prompts(cls, prompts: list[str]) -> list[str]:
        return check_lines(prompts)

    @field_validator("sampler")
    @classmethod
    def _check_sampler(cls, name: str) -> str:
        return sampler_named(name).name

    @model_validator(mode="after")
    def _check_something_to_draw(self) -> SampleConfig:
        _check_one_interval(self.every, self.every_epochs)
        if self.prompts and self.prompts_file is not None:
            raise UserError(
                "prompts and prompts_file are both set; give one of them.", code="conflicting-options", field="prompts"
            )
        if (self.every or self.every_epochs) and not self.prompts and self.prompts_file is None:
            name = "every" if self.every else "every_epochs"
            raise UserError(
                f"{name} is set but there are no prompts: there is nothing to draw.", code="unused-option", field=name
            )
        return self

    @model_validator(mode="after")
    def _check_scaling_has_a_sampler(self) -> SampleConfig:
        for name in self.samplers:
            check_epsilon_scaling(name, self.epsilon_scaling)
        return self

    @property
    def samplers(self) -> tuple[str, ...]:
        """Names of the samplers that draw the pictures of `prompts`; the section's own is the first."""
        lines = (parse_line(text, f"prompt {place}") for place, text in enumerate(self.prompts, 1))
        return tuple(dict.fromkeys((self.sampler, *(line.sampler for line in lines if line.sampler))))

    def with_file_read(self) -> SampleConfig:
        """This section with the lines of `prompts_file` moved into `prompts` (UserError if it cannot be read)."""
        if self.prompts_file is None:
            return self
        lines = read_lines(Path(self.prompts_file).expanduser())
        return self.model_copy(update={"prompts": lines, "prompts_file": None})


class OutputConfig(Section):
    """[output]: format, metadata and model card of the result."""

    precision: Literal["fp32", "fp16", "bf16"] = Field(
        "fp16", description="Number format of the saved weights.", json_schema_extra=FREE
    )
    lora_format: Literal["kohya", "peft"] = Field(
        "kohya",
        description="Names in a LoRA file: kohya's, which every program reads, or peft's (diffusers).",
        json_schema_extra=FREE,
    )
    format: Literal["diffusers", "single_file"] | None = Field(
        None,
        description="Of a model whose weights were all trained: a folder, or one file as web UIs take it; by default "
        "what model.path is.",
        json_schema_extra=FREE,
    )
    every: int = Field(
        0,
        ge=0,
        description="Steps between results saved on the way, NAME-step00000100; 0 saves none.",
        json_schema_extra=FREE,
    )
    every_epochs: int = Field(0, ge=0, description="The same in epochs.", json_schema_extra=FREE)
    keep_last: int | None = Field(
        None,
        ge=1,
        description="Keep only this many of the results saved on the way; by default all.",
        json_schema_extra=FREE,
    )
    title: str | None = Field(None, description="Title of the result; by default its name.", json_schema_extra=FREE)
    author: str | None = Field(None, description="Who made it.", json_schema_extra=FREE)
    description: str | None = Field(None, description="What it is, in a sentence or two.", json_schema_extra=FREE)
    license: str | None = Field(None, description="Licence it is passed on under.", json_schema_extra=FREE)
    tags: list[str] = Field(default_factory=list, description="Words to find it by.", json_schema_extra=FREE)
    trigger_phrase: str | None = Field(
        None, description="Words in a prompt that call what was trained.", json_schema_extra=FREE
    )
    base_model: str | None = Field(
        None,
        description="What to call the base model in the model card, such as its id on a hub; by default its name.",
        json_schema_extra=FREE,
    )
    report: bool = Field(True, description="Write report.html, the run on one page.", json_schema_extra=FREE)
    model_card: bool = Field(
        True, description="Write README.md, a model card, beside the result.", json_schema_extra=FREE
    )
    dates: bool = Field(
        True, description="Write dates and timings; without them equal runs give equal bytes.", json_schema_extra=FREE
    )

    @model_validator(mode="after")
    def _check_something_to_save(self) -> OutputConfig:
        _check_one_interval(self.every, self.every_epochs)
        if self.keep_last is not None and not (self.every or self.every_epochs):
            raise UserError(
                "keep_last is set but nothing is saved on the way; set every or every_epochs.",
                code="unused-option",
                field="keep_last",
            )
        if self.base_model is not None and not self.model_card:
            raise UserError(
                "base_model is set but model_card is false, which it is for.", code="unused-option", field="base_model"
            )
        return self


def _check_one_interval(every: int | None, every_epochs: int) -> None:
    if every and every_epochs:
        raise UserError(
            "every and every_epochs are both set; give one of them.", code="conflicting-options", field="every"
        )
