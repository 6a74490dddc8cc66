"""The sections of a run file. Field descriptions are what forms, docs and `--help` show."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from snrlab.config.strategy import (
    DensityField,
    NoiseField,
    PerturbationField,
    Precision,
    ScheduleField,
    WeightingField,
)
from snrlab.core.draws import Sampling
from snrlab.core.errors import UserError
from snrlab.core.loss_weight import ProductOn
from snrlab.core.prediction import PredictionType

ShippedModel = Literal["small", "small_v"]
RandomModel = Literal["small", "pixels"]
LoraLayers = Literal["attention", "feed_forward", "convolution"]


class Section(BaseModel):
    """A frozen table of the run file; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


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


class DataConfig(Section):
    """[data]: images and captions."""

    folder: str | None = Field(None, description="Folder of images with .txt or .caption files beside them.")
    shipped: str | None = Field(None, description="Instead of folder: an emoji style that ships with snrlab.")
    resolution: int = Field(
        512, ge=16, le=4096, multiple_of=8, description="Pixels a side; images are scaled and cropped to a square."
    )
    caption: str | None = Field(None, description="Caption of images that have none of their own.")
    caption_dropout: float = Field(0.0, ge=0, le=1, description="Part of the captions replaced by the empty one.")
    shuffle_tags: bool = Field(False, description="Put the comma-separated tags after the first in random order.")
    tag_dropout: float = Field(0.0, ge=0, le=1, description="Part of the tags after the first that is left out.")
    flip: bool = Field(False, description="Mirror images left to right half of the time.")
    limit: int | None = Field(None, ge=1, description="Use only this many images, chosen by the seed.")
    concepts: Literal["all", "known", "held_out"] = Field(
        "all", description="Of a shipped style, all concepts, or without or only those the shipped weights never saw."
    )

    @model_validator(mode="after")
    def _one_source(self) -> DataConfig:
        if (self.folder is None) == (self.shipped is None):
            raise UserError('give either folder = "FOLDER" or shipped = "STYLE".')
        if self.folder is not None and self.concepts != "all":
            raise UserError("concepts chooses among a shipped style's; it means nothing for a folder.")
        return self


class RecipeConfig(Section):
    """[recipe]: how effort is spread over noise levels. What is not stated comes from the model."""

    schedule: ScheduleField | None = Field(None, description="Noise schedule; by default the model's.")
    zero_terminal_snr: bool | None = Field(None, description="Rescale the schedule to end at SNR 0.")
    prediction_type: PredictionType | None = Field(None, description="What the network predicts.")
    weighting: list[WeightingField] = Field(default_factory=list, description="Loss weightings, multiplied.")
    product_on: ProductOn = Field("epsilon", description="Where several weightings multiply.")
    max_weight: float | None = Field(None, gt=0, description="Upper limit of the weight on the network's own loss.")
    min_weight: float | None = Field(None, gt=0, description="Lower limit of the weight on the network's own loss.")
    normalize: bool = Field(False, description="Scale the weight to mean 1 under the density.")
    density: DensityField | None = Field(None, description="How often each timestep is drawn; by default uniform.")
    sampling: Sampling = Field("stratified", description="How timesteps are drawn; it never changes the objective.")
    perturbation: PerturbationField | None = Field(None, description="Extra noise on the network's input only.")
    noise: NoiseField | None = Field(None, description="Shape of the noise that is predicted; by default Gaussian.")


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


class LoraConfig(Section):
    """[lora]: the adapter, where train.method is lora."""

    rank: int = Field(16, ge=1, le=1024, description="Rank of the update (network_dim).")
    alpha: float | None = Field(None, gt=0, description="Scale is alpha / rank (network_alpha); by default the rank.")
    layers: list[LoraLayers] = Field(
        ["attention", "feed_forward"],
        min_length=1,
        description="Kinds of layers that get an adapter; with convolution this is known as LoCon.",
    )


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
    every: int = Field(
        0, ge=0, description="Steps between LoRA files saved on the way, NAME-step00000100.safetensors; 0 saves none."
    )
    dates: bool = Field(True, description="Write dates and timings; without them equal runs give equal bytes.")


class RunConfig(Section):
    """A run file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)] = Field(
        "run", description="Name of the run folder and of the result: letters, digits, dot, dash, underscore."
    )
    seed: int = Field(0, ge=0, lt=2**63, description="Every random number of the run follows from it.")
    model: ModelConfig
    data: DataConfig
    recipe: RecipeConfig = RecipeConfig()  # type: ignore[call-arg]
    train: TrainConfig = TrainConfig()  # type: ignore[call-arg]
    lora: LoraConfig = LoraConfig()  # type: ignore[call-arg]
    sample: SampleConfig = SampleConfig()  # type: ignore[call-arg]
    validation: ValidationConfig = ValidationConfig()  # type: ignore[call-arg]
    output: OutputConfig = OutputConfig()  # type: ignore[call-arg]

    @model_validator(mode="after")
    def _lora_is_used(self) -> RunConfig:
        if self.train.method == "full" and self.lora.model_fields_set:
            raise UserError('[lora] is set but train.method is "full"; remove one of them.')
        if self.train.method == "full" and self.output.every:
            raise UserError('output.every is set but train.method is "full"; only LoRA files are saved on the way.')
        return self
