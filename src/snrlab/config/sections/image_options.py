"""What can be said of images and captions, for a whole run in [data] or for one set in [[data.sets]]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic.fields import FieldInfo

from snrlab.config.sections.section import PLACE, Section
from snrlab.core.errors import UserError

Size = tuple[int, int]
SMALLEST_SIDE, LARGEST_SIDE, SIDE_STEP = 16, 4096, 8
OWN_BUCKET_NAMES = {name: name for name in ("bucket_min", "bucket_max", "bucket_step")}


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


class ImageOptions(Section):
    """Options of images and captions."""

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
    caption_prefix: str = Field("", description="Text before each caption.")
    caption_suffix: str = Field("", description="Text after each caption.")
    caption_separator: str = Field(",", min_length=1, description="What is between the tags of a caption.")
    secondary_separator: str | None = Field(
        None, min_length=1, description="Joins tags that stay together; it becomes caption_separator at the end."
    )
    wildcards: bool = Field(
        False,
        description="Lines of a caption file are alternatives, and so are the parts of {a|b}, drawn at each step.",
    )
    shuffle_tags: bool = Field(False, description="Put the tags after the first keep_tokens in random order.")
    keep_tokens: int = Field(
        1, ge=0, description="Tags at the start that neither shuffle_tags nor tag_dropout touch (kohya's default is 0)."
    )
    keep_tokens_separator: str | None = Field(
        None, min_length=1, description="Instead of keep_tokens where a caption has it: what ends the tags that stay."
    )
    caption_dropout: float = Field(0.0, ge=0, le=1, description="Part of the captions replaced by the empty one.")
    caption_dropout_every_n_epochs: int = Field(
        0, ge=0, description="Epochs between those in which all captions are empty; 0 is none."
    )
    tag_dropout: float = Field(
        0.0, ge=0, le=1, description="Part of the tags after the first keep_tokens that is left out."
    )
    token_warmup_steps: float = Field(
        0, ge=0, description="Steps until captions have all their tags; below 1 a part of the run, 0 is off."
    )
    token_warmup_min: int = Field(1, ge=0, description="Tags after the first keep_tokens at the start of the warm-up.")

    @property
    def size(self) -> Size:
        """Width and height of `resolution`."""
        given = self.resolution
        return (given, given) if isinstance(given, int) else (given[0], given[1])

    @property
    def moves_tags(self) -> bool:
        """Whether captions are taken apart into tags."""
        return self.shuffle_tags or self.tag_dropout > 0 or self.token_warmup_steps > 0

    def check(self) -> None:
        """Refuse combinations in which something stated would be ignored.

        Raises:
            UserError: naming both fields.
        """
        for name, needs, used in (
            ("bucket_min", "buckets = true", self.buckets),
            ("bucket_max", "buckets = true", self.buckets),
            ("bucket_step", "buckets = true", self.buckets),
            ("bucket_upscale", "buckets = true", self.buckets),
            ("masks", "masked_loss = true", self.masked_loss),
            ("keep_tokens", "shuffle_tags, tag_dropout or token_warmup_steps", self.moves_tags),
            ("keep_tokens_separator", "shuffle_tags, tag_dropout or token_warmup_steps", self.moves_tags),
            ("token_warmup_min", "token_warmup_steps", self.token_warmup_steps > 0),
            ("caption_separator", "shuffle_tags, tag_dropout, token_warmup_steps or secondary_separator",
             self.moves_tags or self.secondary_separator is not None),
        ):  # fmt: skip
            value = getattr(self, name)
            if value != ImageOptions.model_fields[name].default and not used:
                raise UserError(
                    f"{name} is {value!r}, which means nothing without {needs}.", code="unused-option", field=name
                )
        if self.masked_loss and self.alpha_mask:
            raise UserError(
                "masked_loss and alpha_mask are both true; choose where the mask comes from.",
                code="conflicting-options",
                field="masked_loss",
            )
        self.check_buckets()

    def check_buckets(self, names: Mapping[str, str] = OWN_BUCKET_NAMES) -> None:
        """Refuse buckets that leave out the resolution itself.

        Args:
            names: what the message calls the options.

        Raises:
            UserError: naming the bound.
        """
        if not self.buckets:
            return
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


def _own(name: str) -> Any:
    """The option of that name, where none takes the value of [data]."""
    return FieldInfo.merge_field_infos(ImageOptions.model_fields[name], default=None)


class ImageSet(Section):
    """[[data.sets]]: one folder among several; what it does not say, [data] says."""

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
    repeats: int | None = _own("repeats")
    resolution: Resolution | None = _own("resolution")
    buckets: bool | None = _own("buckets")
    bucket_min: int | None = _own("bucket_min")
    bucket_max: int | None = _own("bucket_max")
    bucket_step: int | None = _own("bucket_step")
    bucket_upscale: bool | None = _own("bucket_upscale")
    flip: bool | None = _own("flip")
    random_crop: bool | None = _own("random_crop")
    masked_loss: bool | None = _own("masked_loss")
    masks: str | None = _own("masks")
    alpha_mask: bool | None = _own("alpha_mask")
    caption: str | None = _own("caption")
    caption_extension: Suffix | None = _own("caption_extension")
    caption_prefix: str | None = _own("caption_prefix")
    caption_suffix: str | None = _own("caption_suffix")
    caption_separator: str | None = _own("caption_separator")
    secondary_separator: str | None = _own("secondary_separator")
    wildcards: bool | None = _own("wildcards")
    shuffle_tags: bool | None = _own("shuffle_tags")
    keep_tokens: int | None = _own("keep_tokens")
    keep_tokens_separator: str | None = _own("keep_tokens_separator")
    caption_dropout: float | None = _own("caption_dropout")
    caption_dropout_every_n_epochs: int | None = _own("caption_dropout_every_n_epochs")
    tag_dropout: float | None = _own("tag_dropout")
    token_warmup_steps: float | None = _own("token_warmup_steps")
    token_warmup_min: int | None = _own("token_warmup_min")

    def options(self, data: ImageOptions) -> ImageOptions:
        """The options of this set: its own, and those of [data] where it has none."""
        names = ImageOptions.model_fields
        own = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return ImageOptions.model_construct(**{name: getattr(data, name) for name in names} | own)
