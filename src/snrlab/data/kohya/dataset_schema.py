"""The keys of a kohya dataset TOML and the values that each may have."""

from __future__ import annotations

from typing import Annotated, Any

from annotated_types import MinLen
from pydantic import Field, create_model

from snrlab.config.option_tables.kohya import DATASET_TOML, DatasetLevel
from snrlab.config.sections.data import ImageOptions
from snrlab.config.sections.section import Section

# keys without a counterpart here: (values that change nothing, what to do instead)
WITHOUT_COUNTERPART: dict[str, tuple[tuple[Any, ...], str]] = {
    "color_aug": ((False,), "change the colours of copies of the images instead"),
    "face_crop_aug_range": ((), "crop the images to the faces instead"),
    "custom_attributes": ((), "nothing here would read it"),
    "network_multiplier": ((1.0,), "use importance in [[data.sets]] for a loss that counts more"),
    "validation_split": ((0.0,), "set validation.images in the run file"),
    "resize_interpolation": (("lanczos",), "images are scaled with Lanczos"),
}
# options that a kohya user may state in a dataset TOML but that belong elsewhere
MISPLACED = {
    "prior_loss_weight": "set data.prior_loss_weight in the run file",
    "weighted_captions": "set data.weighted_captions in the run file",
    "masked_loss": "subsets with conditioning_data_dir or alpha_mask are masked",
    "train_batch_size": "set batch_size here and train.batch_size in the run file",
    "train_data_dir": "set image_dir of a subset, or data.folder in the run file",
    "reg_data_dir": "set image_dir and is_reg of a subset, or data.regularisation in the run file",
    "cache_latents": "set data.cache in the run file",
    "cache_latents_to_disk": "set data.cache in the run file",
}


def is_optional_text(field: str) -> bool:
    """Whether a text of [data] is none or at least a letter, for which kohya writes an empty text."""
    return any(isinstance(limit, MinLen) for limit in ImageOptions.model_fields[field].metadata) and (
        DATASET_TOML[field].rule == "some"
    )


def _option_type(field: str) -> Any:
    """The type and limits of our field, or none where a level does not state it."""
    ours = ImageOptions.model_fields[field]
    limits = [limit for limit in ours.metadata if not (is_optional_text(field) and isinstance(limit, MinLen))]
    kind: Any = Annotated[ours.annotation, *limits] if limits else ours.annotation
    return kind | None


def _options_of(level: DatasetLevel) -> Any:
    """A section with the options that a level may state and that have the type of our field."""
    names: dict[str, Any] = {
        option.name: (_option_type(field), None)
        for field, option in DATASET_TOML.items()
        if option.dataset_toml == level and field in ImageOptions.model_fields
    }
    return create_model(f"_Options_{level}", __base__=Section, **names)


_AtEveryLevel: Any = _options_of("every")
_OfDatasets: Any = _options_of("dataset")
_OfSubsets: Any = _options_of("subset")


class SubsetOptions(_AtEveryLevel):
    """Options of every level; here are those whose limits are wider than ours or that have no counterpart."""

    num_repeats: int | None = Field(None, ge=1)
    color_aug: bool | None = None
    face_crop_aug_range: list[float] | None = None
    custom_attributes: dict[str, Any] | None = None
    resize_interpolation: str | None = None
    cache_info: bool | None = None


class DatasetOptions(_OfDatasets, SubsetOptions):
    """[general], options of all datasets, or those of one: its size and buckets too."""

    batch_size: int | None = Field(None, ge=1)
    bucket_reso_steps: int | None = Field(None, ge=8, multiple_of=8)
    min_bucket_reso: int | None = Field(None, ge=16)
    max_bucket_reso: int | None = Field(None, ge=16)
    network_multiplier: float | None = None
    validation_seed: int | None = None
    validation_split: float | None = Field(None, ge=0, le=1)


class Subset(_OfSubsets, SubsetOptions):
    """[[datasets.subsets]]: one folder or metadata file."""

    image_dir: str | None = None
    metadata_file: str | None = None
    is_reg: bool | None = None


class Dataset(DatasetOptions):
    """[[datasets]]: subsets of one size."""

    subsets: list[Subset] = Field(default_factory=list)


class DatasetFile(Section):
    """A dataset TOML."""

    general: DatasetOptions = DatasetOptions()
    datasets: list[Dataset] = Field(min_length=1)
