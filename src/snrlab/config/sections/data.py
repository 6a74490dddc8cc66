"""[data]: where images and captions come from, and what becomes of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from pydantic import Field, model_validator

from snrlab.config.sections.image_options import ImageOptions, ImageSet
from snrlab.config.sections.section import FREE, PLACE, Section
from snrlab.core.errors import UserError

SOURCES = ("folder", "sets", "dataset_config", "shipped")
# what a kohya dataset TOML decides in its own words
_DECIDED_BY_TOML = {
    "repeats": "num_repeats", "buckets": "enable_bucket", "bucket_min": "min_bucket_reso",
    "bucket_max": "max_bucket_reso", "bucket_step": "bucket_reso_steps", "bucket_upscale": "bucket_no_upscale",
    "flip": "flip_aug", "random_crop": "random_crop", "masked_loss": "conditioning_data_dir",
    "masks": "conditioning_data_dir", "alpha_mask": "alpha_mask", "caption": "class_tokens",
    "caption_extension": "caption_extension", "caption_prefix": "caption_prefix", "caption_suffix": "caption_suffix",
    "caption_separator": "caption_separator", "secondary_separator": "secondary_separator",
    "wildcards": "enable_wildcard", "shuffle_tags": "shuffle_caption", "keep_tokens": "keep_tokens",
    "keep_tokens_separator": "keep_tokens_separator", "caption_dropout": "caption_dropout_rate",
    "caption_dropout_every_n_epochs": "caption_dropout_every_n_epochs", "tag_dropout": "caption_tag_dropout_rate",
    "token_warmup_steps": "token_warmup_step", "token_warmup_min": "token_warmup_min", "regularisation": "is_reg",
}  # fmt: skip
_NOT_FOR_SHIPPED = ("caption", "caption_extension", "masked_loss", "masks", "alpha_mask", "kohya_cache")


class DataSource(Section):
    """Where images come from."""

    folder: str | None = Field(
        None, description="Folder of images with .txt, .caption or .cap files beside them, of such folders, or of "
        "kohya's N_name folders; a metadata.jsonl in it may hold the captions.", json_schema_extra=PLACE)  # fmt: skip
    sets: list[ImageSet] = Field(
        default_factory=list,
        description="Instead of folder: several of them, each with options of its own.",
        json_schema_extra=PLACE,
    )
    dataset_config: str | None = Field(
        None,
        description="Instead of folder: a kohya dataset TOML, used as it is; [data] then says only what it cannot.",
        json_schema_extra=PLACE,
    )
    shipped: str | None = Field(None, description="Instead of folder: an emoji style that ships with snrlab.")
    concepts: Literal["all", "known", "held_out"] = Field(
        "all", description="Of a shipped style, all concepts, or without or only those the shipped weights never saw."
    )
    limit: int | None = Field(None, ge=1, description="Use only this many images, chosen by the seed.")
    regularisation: str | None = Field(
        None,
        description="Folder of class images that keep the model as it was, repeated to the number of the others.",
        json_schema_extra=PLACE,
    )


class DataConfig(ImageOptions, DataSource):
    """[data]: images and captions."""

    prior_loss_weight: float = Field(1.0, ge=0, le=1000, description="Factor on the loss of regularisation images.")
    weighted_captions: bool = Field(
        False, description="Read (word:1.3), (word) and [word] in captions as more or less weight, as A1111 does."
    )
    vae_batch_size: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Images that are encoded at once; by default as many as have the pixels of one of 1024x1024, "
        "at most 32.",
        json_schema_extra=FREE,
    )
    cache: bool = Field(
        False,
        description="Keep encoded images and captions on disk, so that the next run starts at once.",
        json_schema_extra=FREE,
    )
    cache_folder: str | None = Field(
        None, description="Where they are kept; by default .cache/snrlab in your home.", json_schema_extra=FREE
    )
    kohya_cache: bool = Field(
        False, description="Take latents from kohya's .npz caches beside the images, where they are of their size."
    )

    @model_validator(mode="after")
    def _consistent(self) -> DataConfig:
        given = [name for name in SOURCES if getattr(self, name)]
        if len(given) != 1:
            found = " and ".join(given) if given else "none of them is given"
            raise UserError(
                f'give either folder = "FOLDER", [[data.sets]], dataset_config or shipped ({found}).',
                code="conflicting-options",
                field="folder",
            )
        self._refuse_ignored(given[0])
        for options in [image_set.options(self) for image_set in self.sets] or [self]:
            options.check()
        self._check_ratios()
        return self

    @property
    def side(self) -> int:
        """Side of a square of the area of `resolution`, in pixels: what sample pictures have."""
        width, height = self.size
        return width if width == height else round(math.sqrt(width * height) / 8) * 8

    @property
    def idle(self) -> frozenset[str]:
        """Options that mean nothing with the source that is given: they must not be set and are not written out."""
        if self.dataset_config is not None:
            return frozenset(_DECIDED_BY_TOML) | {"concepts"}
        return frozenset(_NOT_FOR_SHIPPED if self.shipped is not None else {"concepts"})

    def with_paths(self, change: Callable[[str], str]) -> DataConfig:
        """The same with every file and folder that it names changed."""

        def changed(path: str | None) -> str | None:
            return None if path is None else change(path)

        names = ("folder", "dataset_config", "regularisation", "masks", "cache_folder")
        sets = [s.model_copy(update={"folder": change(s.folder), "masks": changed(s.masks)}) for s in self.sets]
        return self.model_copy(update={name: changed(getattr(self, name)) for name in names} | {"sets": sets})

    def _refuse_ignored(self, source: str) -> None:
        for name in sorted(self.idle & self.model_fields_set):
            if source == "dataset_config" and name in _DECIDED_BY_TOML:
                raise UserError(
                    f"{name} is set, but the dataset TOML decides it: state {_DECIDED_BY_TOML[name]} there, "
                    f"in [general] for all of it.",
                    code="unused-option",
                    field=name,
                )
            if getattr(self, name) != type(self).model_fields[name].default:
                raise UserError(f"{name} is set, but it means nothing with {source}.", code="unused-option", field=name)
        has_regularisation = self.regularisation is not None or any(s.regularisation for s in self.sets)
        if self.prior_loss_weight != 1 and not has_regularisation and source != "dataset_config":
            raise UserError(
                "prior_loss_weight is set, but there are no regularisation images.",
                code="unused-option",
                field="prior_loss_weight",
            )
        if self.cache_folder is not None and not self.cache:
            raise UserError(
                "cache_folder is set, but cache is false: nothing would be kept there.",
                code="unused-option",
                field="cache_folder",
            )

    def _check_ratios(self) -> None:
        for image_set in self.sets:
            if image_set.regularisation and image_set.ratio is not None:
                raise UserError(
                    f"sets: {image_set.folder} has a ratio and regularisation = true; regularisation images are "
                    "repeated to the number of the others.",
                    code="conflicting-options",
                )
        trained = [s for s in self.sets if not s.regularisation]
        if self.sets and not trained:
            raise UserError(
                "sets: all of them are regularisation; there is nothing to learn from.", code="nothing-to-do"
            )
        ratios = [s.ratio for s in trained if s.ratio is not None]
        if ratios and len(ratios) < len(trained):
            missing = next(s for s in trained if s.ratio is None)
            raise UserError(
                f"sets: {missing.folder} has no ratio but others have; give one to each or to none.",
                code="missing-value",
            )
        if ratios and abs(sum(ratios) - 1) > 1e-6:
            raise UserError(
                f"sets: the ratios sum to {sum(ratios):g}; they are shares and must sum to 1.", code="out-of-range"
            )
