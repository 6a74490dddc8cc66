"""Folders of images as a run file names them, each with its options, before they are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from snrlab.config.sections.data import DataConfig, ImageOptions
from snrlab.data.items import BucketRule, DataSet


@dataclass(frozen=True)
class Source:
    """A folder of images or a metadata file, with the options of its images.

    Attributes:
        where: the field that names it, for messages.
        folder: of the images; None where a metadata file has whole paths.
        options: of its images and captions.
        regularisation: whether these keep the model as it was.
        importance: factor on the loss.
        ratio: share of the pictures seen, or None.
        metadata: kohya's fine-tuning metadata, or None.
        flat: the folder itself, whatever its name; nothing below it.
        repeats: what the set itself gives, so that its folder's name is not read; None where it gives none.
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
    repeats: int | None = None

    @property
    def caption_field(self) -> str:
        """What states the caption of images without one."""
        if self.flat:
            return "class_tokens"
        return f"{self.where}.caption" if self.where.startswith("data.sets") else "data.caption"

    def part(self, name: str, repeats: int) -> DataSet:
        """The set of its images, or of those of one of its folders."""
        options = self.options
        return DataSet(
            name=name,
            resolution=options.size,
            buckets=_bucket_rule(options) if options.buckets else None,
            repeats=repeats,
            flip=options.flip,
            random_crop=options.random_crop,
            captions=options.caption_options,
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
    listed = []
    for number, chosen in enumerate(config.sets):
        importance = config.prior_loss_weight if chosen.regularisation else 1.0
        if chosen.importance is not None:
            importance = chosen.importance
        where, options = f"data.sets[{number}]", chosen.options(config)
        folder, regularisation = Path(chosen.folder), chosen.regularisation
        repeats: int | None = chosen.repeats  # type: ignore[attr-defined]  # one of the optional options of images
        listed.append(Source(where, folder, options, regularisation, importance, chosen.ratio, repeats=repeats))
    if config.folder is not None:
        listed.append(Source(folder_field, Path(config.folder), config))
    if config.regularisation is not None:
        folder = Path(config.regularisation)
        listed.append(Source("data.regularisation", folder, config, True, config.prior_loss_weight))
    return tuple(listed)


def _bucket_rule(options: ImageOptions) -> BucketRule:
    """Kohya's numbers, which by default are half and twice the resolution: 256 and 1024 for 512."""
    step, (shorter, longer) = options.bucket_step, sorted(options.size)
    smallest = shorter // 2 if options.bucket_min is None else options.bucket_min
    largest = 2 * longer if options.bucket_max is None else options.bucket_max
    return BucketRule(max(step, smallest // step * step), -(-largest // step) * step, step, options.bucket_upscale)
