"""What a run says of one folder of images, before it is looked into."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from snrlab.config.sections.data import DataConfig, ImageOptions
from snrlab.data.items import BucketRule, CaptionRule, DataSet


@dataclass(frozen=True)
class Source:
    """One folder or metadata file, and what is said of its images.

    Attributes:
        where: the field that names it, for messages.
        folder: of the images; None where a metadata file has whole paths.
        options: of its images and captions.
        regularisation: whether these keep the model as it was.
        importance: factor on the loss.
        ratio: share of the pictures seen, or None.
        metadata: kohya's fine-tuning metadata, or None.
        flat: the folder itself, whatever its name; nothing below it.
        several_lines: what a caption file of several lines means without wildcards.
    """

    where: str
    folder: Path | None
    options: ImageOptions
    regularisation: bool = False
    importance: float = 1.0
    ratio: float | None = None
    metadata: Path | None = None
    flat: bool = False
    several_lines: Literal["join", "first"] = "join"

    @property
    def caption_field(self) -> str:
        """What states the caption of images without one."""
        if self.flat:
            return "class_tokens"
        return f"{self.where}.caption" if self.where.startswith("data.sets") else "data.caption"

    def part(self, name: str, repeats: int) -> DataSet:
        """What its images, or those of one of its folders, have in common."""
        options = self.options
        return DataSet(
            name=name,
            resolution=options.size,
            buckets=_bucket_rule(options) if options.buckets else None,
            repeats=repeats,
            flip=options.flip,
            random_crop=options.random_crop,
            captions=_caption_rule(options),
            regularisation=self.regularisation,
            importance=self.importance,
            alpha_mask=options.alpha_mask,
        )


def sources(config: DataConfig, folder_field: str = "data.folder") -> tuple[Source, ...]:
    """The folders that [data] names, each with its options; none for shipped styles and dataset TOMLs.

    Args:
        config: the section.
        folder_field: what messages call its `folder`.
    """
    found = []
    for number, chosen in enumerate(config.sets):
        importance = config.prior_loss_weight if chosen.regularisation else 1.0
        if chosen.importance is not None:
            importance = chosen.importance
        where, options = f"data.sets[{number}]", chosen.options(config)
        found.append(Source(where, Path(chosen.folder), options, chosen.regularisation, importance, chosen.ratio))
    if config.folder is not None:
        found.append(Source(folder_field, Path(config.folder), config))
    if config.regularisation is not None:
        folder = Path(config.regularisation)
        found.append(Source("data.regularisation", folder, config, True, config.prior_loss_weight))
    return tuple(found)


def _bucket_rule(options: ImageOptions) -> BucketRule:
    """Kohya's numbers, which by default are half and twice the resolution: 256 and 1024 for 512."""
    step, (shorter, longer) = options.bucket_step, sorted(options.size)
    smallest = shorter // 2 if options.bucket_min is None else options.bucket_min
    largest = 2 * longer if options.bucket_max is None else options.bucket_max
    return BucketRule(max(step, smallest // step * step), -(-largest // step) * step, step, options.bucket_upscale)


def _caption_rule(options: ImageOptions) -> CaptionRule:
    return CaptionRule(
        wildcard=options.wildcards,
        prefix=options.caption_prefix,
        suffix=options.caption_suffix,
        dropout=options.caption_dropout,
        dropout_every=options.caption_dropout_every_n_epochs,
        separator=options.caption_separator,
        secondary_separator=options.secondary_separator,
        keep_tokens=options.keep_tokens,
        keep_separator=options.keep_tokens_separator,
        shuffle=options.shuffle_tags,
        tag_dropout=options.tag_dropout,
        warmup_min=options.token_warmup_min,
        warmup_steps=options.token_warmup_steps,
    )
