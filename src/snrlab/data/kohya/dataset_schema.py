"""The keys of a kohya dataset TOML and what each may hold."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from snrlab.config.sections.data import Resolution, Suffix
from snrlab.config.sections.section import Section

# keys without a counterpart here: (values that do nothing, what to do instead)
IDLE: dict[str, tuple[tuple[Any, ...], str]] = {
    "color_aug": ((False,), "change the colours of copies of the images instead"),
    "face_crop_aug_range": ((), "crop the images to the faces instead"),
    "custom_attributes": ((), "nothing here would read it"),
    "network_multiplier": ((1.0,), "use importance in [[data.sets]] for a loss that counts more"),
    "validation_split": ((0.0,), "set validation.images in the run file"),
    "resize_interpolation": (("lanczos",), "images are scaled with Lanczos"),
}
# options that a kohya user may look for here but that belong elsewhere
OURS = {
    "prior_loss_weight": "set data.prior_loss_weight in the run file",
    "weighted_captions": "set data.weighted_captions in the run file",
    "masked_loss": "subsets with conditioning_data_dir or alpha_mask are masked",
    "train_batch_size": "set batch_size here and train.batch_size in the run file",
    "train_data_dir": "set image_dir of a subset, or data.folder in the run file",
    "reg_data_dir": "set image_dir and is_reg of a subset, or data.regularisation in the run file",
    "cache_latents": "set data.cache in the run file",
    "cache_latents_to_disk": "set data.cache in the run file",
}
DATASET_ONLY = {
    "batch_size", "resolution", "enable_bucket", "bucket_no_upscale", "bucket_reso_steps", "min_bucket_reso",
    "max_bucket_reso", "network_multiplier", "validation_seed", "validation_split",
}  # fmt: skip


class SubsetOptions(Section):
    """What may be said at every level."""

    num_repeats: int | None = Field(None, ge=1)
    shuffle_caption: bool | None = None
    caption_separator: str | None = Field(None, min_length=1)
    keep_tokens: int | None = Field(None, ge=0)
    keep_tokens_separator: str | None = None
    secondary_separator: str | None = None
    enable_wildcard: bool | None = None
    caption_prefix: str | None = None
    caption_suffix: str | None = None
    caption_dropout_rate: float | None = Field(None, ge=0, le=1)
    caption_dropout_every_n_epochs: int | None = Field(None, ge=0)
    caption_tag_dropout_rate: float | None = Field(None, ge=0, le=1)
    token_warmup_min: int | None = Field(None, ge=0)
    token_warmup_step: float | None = Field(None, ge=0)
    color_aug: bool | None = None
    flip_aug: bool | None = None
    random_crop: bool | None = None
    face_crop_aug_range: list[float] | None = None
    custom_attributes: dict[str, Any] | None = None
    resize_interpolation: str | None = None
    caption_extension: Suffix | None = None
    class_tokens: str | None = None
    cache_info: bool | None = None


class DatasetOptions(SubsetOptions):
    """What may be said of all datasets or one: its size and buckets too."""

    batch_size: int | None = Field(None, ge=1)
    resolution: Resolution | None = None
    enable_bucket: bool | None = None
    bucket_no_upscale: bool | None = None
    bucket_reso_steps: int | None = Field(None, ge=8, multiple_of=8)
    min_bucket_reso: int | None = Field(None, ge=16)
    max_bucket_reso: int | None = Field(None, ge=16)
    network_multiplier: float | None = None
    validation_seed: int | None = None
    validation_split: float | None = Field(None, ge=0, le=1)


class Subset(SubsetOptions):
    """[[datasets.subsets]]: one folder or metadata file."""

    image_dir: str | None = None
    metadata_file: str | None = None
    conditioning_data_dir: str | None = None
    is_reg: bool | None = None
    alpha_mask: bool | None = None


class Dataset(DatasetOptions):
    """[[datasets]]: subsets of one size."""

    subsets: list[Subset] = Field(default_factory=list)


class DatasetFile(Section):
    """A dataset TOML."""

    general: DatasetOptions = DatasetOptions()
    datasets: list[Dataset] = Field(min_length=1)
