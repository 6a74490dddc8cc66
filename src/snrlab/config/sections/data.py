"""[data]: where images and captions come from, and how they are prepared."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, create_model, model_validator
from pydantic.fields import FieldInfo

from snrlab.config.option_tables.kohya import DATASET_TOML
from snrlab.config.sections.captions import MOVES_TAGS, CaptionOptions
from snrlab.config.sections.section import FREE, PLACE, Section
from snrlab.core.errors import UserError

WidthHeight = tuple[int, int]
SMALLEST_SIDE, LARGEST_SIDE, SIDE_STEP = 16, 4096, 8


def _resolution(value: Any) -> int | list[int]:
    sides = value if isinstance(value, list) else [value]
    for side in sides:
        if type(side) is not int or not SMALLEST_SIDE <= side <= LARGEST_SIDE or side % SIDE_STEP:
            raise UserError(f"it is {value!r}: a side is a multiple of 8 from 16 to 4096.", code="wrong-size")
    if isinstance(value, list) and len(value) != 2:
        raise UserError(f"it is {value!r}: give one side for a square, or [width, height].", code="wrong-type")
    return value


_SIDE = {"type": "integer", "minimum": SMALLEST_SIDE, "maximum": LARGEST_SIDE, "multipleOf": SIDE_STEP}
Resolution = Annotated[
    int | list[int],
    BeforeValidator(_resolution),
    WithJsonSchema({"anyOf": [_SIDE, {"type": "array", "items": _SIDE, "minItems": 2, "maxItems": 2}]}),
]


def _suffix(value: Any) -> Any:
    return f".{value.lower().removeprefix('.')}" if isinstance(value, str) else value


Suffix = Annotated[str, BeforeValidator(_suffix), Field(pattern=r"^\.[^./\\]+$")]


class PixelOptions(Section):
    """Options of images, and of where their captions are."""

    repeats: int = Field(1, ge=1, le=100_000, description="How often each image is seen in an epoch.")
    resolution: Resolution = Field(
        512, description="Pixels a side, or [width, height]; images are scaled and cropped to it."
    )
    buckets: bool = Field(
        False, description="Keep the aspect ratio: many sizes of the area of resolution instead of one crop for all."
    )
    bucket_min: int | None = Field(
        None, ge=16, le=4096, description="Shortest side of a bucket; by default half the shorter side of resolution."
    )
    bucket_max: int | None = Field(
        None, ge=16, le=8192, description="Longest side of a bucket; by default twice the longer side of resolution."
    )
    bucket_step: int = Field(64, ge=8, le=1024, multiple_of=8, description="Sides of buckets are multiples of it.")
    bucket_upscale: bool = Field(True, description="Enlarge images that are smaller than their bucket.")
    flip: bool = Field(False, description="Mirror images left to right half of the time.")
    random_crop: bool = Field(False, description="Crop anywhere instead of in the middle.")
    masked_loss: bool = Field(
        False,
        description="Count the error by the brightness of a mask: NAME-masklabel.png beside NAME.png, or NAME.png in a "
        "folder mask/ beside it or in masks.",
    )
    masks: str | None = Field(
        None, description="Folder of the masks for masked_loss, named as their images.", json_schema_extra=PLACE
    )
    alpha_mask: bool = Field(False, description="Count the error by how opaque an image is.")
    caption: str | None = Field(None, description="Caption of images that have none of their own.")
    caption_extension: Suffix | None = Field(
        None, description="Suffix of caption files; by default .txt, .caption or .cap, whichever an image has."
    )

    @property
    def size(self) -> WidthHeight:
        """Width and height of `resolution`."""
        given = self.resolution
        return (given, given) if isinstance(given, int) else (given[0], given[1])


class ImageOptions(CaptionOptions, PixelOptions):
    """Options of images and captions."""

    @property
    def caption_options(self) -> CaptionOptions:
        """Those of captions alone."""
        return CaptionOptions.model_construct(**{name: getattr(self, name) for name in CaptionOptions.model_fields})

    def check(self) -> None:
        """Refuse combinations in which an option that is set would be ignored.

        Raises:
            UserError: naming both fields.
        """
        for field, requirement in REQUIREMENTS.items():
            value = getattr(self, field)
            if value != ImageOptions.model_fields[field].default and not requirement.is_met(self):
                raise UserError(
                    f"{field} is {value!r}, which means nothing without {requirement.needs}.",
                    code="unused-option",
                    field=field,
                )
        if self.masked_loss and self.alpha_mask:
            raise UserError(
                "masked_loss and alpha_mask are both true; choose where the mask comes from.",
                code="conflicting-options",
                field="masked_loss",
            )
        self.check_buckets()

    def check_buckets(self, names: Mapping[str, str] | None = None) -> None:
        """Refuse buckets that leave out the resolution itself.

        Args:
            names: names of the options for the message, where these are not our own.

        Raises:
            UserError: naming the bound.
        """
        if not self.buckets:
            return
        names = names or {name: name for name in ImageOptions.model_fields}
        shorter, longer = sorted(self.size)
        for name in ("bucket_min", "bucket_step"):
            value = getattr(self, name)
            if value is not None and value > shorter:
                raise UserError(
                    f"{names[name]} is {value}, above the shorter side of resolution, {shorter}.",
                    code="wrong-size",
                    field=name,
                )
        if self.bucket_max is not None and self.bucket_max < longer:
            raise UserError(
                f"{names['bucket_max']} is {self.bucket_max}, below the longer side of resolution, {longer}.",
                code="wrong-size",
                field="bucket_max",
            )


@dataclass(frozen=True)
class Requirement:
    """Other options that an option means nothing without.

    Attributes:
        needs: the options, in words.
        is_met: whether they are set.
    """

    needs: str
    is_met: Callable[[ImageOptions], bool]


_BUCKETS = Requirement("buckets = true", lambda options: options.buckets)
_TAGS = Requirement("shuffle_tags, tag_dropout or token_warmup_steps", lambda options: options.moves_tags)
REQUIREMENTS: Mapping[str, Requirement] = {
    "bucket_min": _BUCKETS,
    "bucket_max": _BUCKETS,
    "bucket_step": _BUCKETS,
    "bucket_upscale": _BUCKETS,
    "masks": Requirement("masked_loss = true", lambda options: options.masked_loss),
    "keep_tokens": _TAGS,
    "keep_tokens_separator": _TAGS,
    "token_warmup_min": Requirement("token_warmup_steps", lambda options: options.token_warmup_steps > 0),
    "caption_separator": Requirement(
        "shuffle_tags, tag_dropout, token_warmup_steps or secondary_separator",
        lambda options: options.moves_tags or options.secondary_separator is not None,
    ),
}

BUCKET_OPTIONS = tuple(name for name, requirement in REQUIREMENTS.items() if requirement is _BUCKETS)
TAG_OPTIONS = tuple(name for name in CaptionOptions.model_fields if name in MOVES_TAGS or name in REQUIREMENTS)


class SetFolder(Section):
    """A folder among several: its place, share and weight."""

    folder: str = Field(description="Folder of images, or of kohya's N_name folders.")
    ratio: float | None = Field(
        None, gt=0, lt=1, description="Share of the pictures seen; all sets have one, and they sum to 1."
    )
    regularisation: bool = Field(
        False, description="These are class images that keep the model as it was, repeated to the number of the others."
    )
    importance: float | None = Field(
        None, ge=0, le=1000, description="Factor on the loss; by default 1, and prior_loss_weight for regularisation."
    )


def _optional(field: FieldInfo) -> tuple[Any, FieldInfo]:
    """The type and field of an option that takes the value of [data] where it is none."""
    return field.annotation | None, FieldInfo.merge_field_infos(field, default=None)  # type: ignore[operator]  # a type


_OPTIONAL: dict[str, Any] = {name: _optional(field) for name, field in ImageOptions.model_fields.items()}
_OptionalImageOptions: Any = create_model("_OptionalImageOptions", __base__=Section, **_OPTIONAL)


class ImageSet(_OptionalImageOptions, SetFolder):
    """[[data.sets]]: one folder among several; what it does not say, [data] says."""

    def options(self, data: ImageOptions) -> ImageOptions:
        """The options of this set, and those of [data] where it states none."""
        names = ImageOptions.model_fields
        stated = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return ImageOptions.model_construct(**{name: getattr(data, name) for name in names} | stated)


SOURCES = ("folder", "sets", "dataset_config", "shipped")
# options that a kohya dataset TOML decides, by what it calls them; without a resolution it has that of [data]
_DECIDED_BY_TOML: Mapping[str, str] = {
    **{field: option.name for field, option in DATASET_TOML.items() if field not in ("folder", "resolution")},
    "masked_loss": DATASET_TOML["masks"].name,
}
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
        False, description="Take latents from kohya's .npz caches beside the images, where their size fits."
    )

    @model_validator(mode="after")
    def _consistent(self) -> DataConfig:
        given = [name for name in SOURCES if getattr(self, name)]
        if len(given) != 1:
            stated = " and ".join(given) if given else "none of them is given"
            raise UserError(
                f'give either folder = "FOLDER", [[data.sets]], dataset_config or shipped ({stated}).',
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
    def ignored_options(self) -> frozenset[str]:
        """Options that mean nothing with the source that is given: they must not be set and are not written out."""
        if self.dataset_config is not None:
            return frozenset(_DECIDED_BY_TOML) | {"concepts"}
        return frozenset(_NOT_FOR_SHIPPED if self.shipped is not None else {"concepts"})

    def with_paths(self, change: Callable[[str], str]) -> DataConfig:
        """The same with every path in it changed."""

        def changed(path: str | None) -> str | None:
            return None if path is None else change(path)

        names = ("folder", "dataset_config", "regularisation", "masks", "cache_folder")
        in_sets = ("folder", "masks")
        sets = [s.model_copy(update={name: changed(getattr(s, name)) for name in in_sets}) for s in self.sets]
        return self.model_copy(update={name: changed(getattr(self, name)) for name in names} | {"sets": sets})

    def _refuse_ignored(self, source: str) -> None:
        for name in sorted(self.ignored_options & self.model_fields_set):
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
