"""Images of a run from any source: the training set with its repeats, and the validation set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snrlab.config.sections.data import DataConfig
from snrlab.core.errors import UserError, one_code, unknown
from snrlab.core.random_streams import stream
from snrlab.data import emoji
from snrlab.data.discovery import Group, collect, with_distinct_names
from snrlab.data.image_source import Source, sources
from snrlab.data.items import Item
from snrlab.data.kohya.dataset_toml import read_datasets
from snrlab.data.repeats import balance_regularisation, scale_repeats, share_epoch


@dataclass(frozen=True)
class DataDiscovery:
    """Images that a run's [data] section names, with problems and notes.

    Attributes:
        groups: by dataset, each with one or more sources; regularisation is balanced within a dataset.
        batch_sizes: the batch sizes that a dataset TOML states.
        notes: what the user may want to know, besides the notes of the groups.
    """

    groups: tuple[tuple[Group, ...], ...]
    batch_sizes: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()

    @property
    def all_groups(self) -> tuple[Group, ...]:
        """Groups of all datasets in one sequence."""
        return tuple(group for dataset in self.groups for group in dataset)

    @property
    def problems(self) -> tuple[str, ...]:
        """All problems that keep the images from being trained on."""
        return tuple(problem for group in self.all_groups for problem in group.problems)

    def refuse_problems(self) -> None:
        """Raise UserError with all of the problems, if there are any."""
        if self.problems:
            code = one_code(group.code for group in self.all_groups if group.problems)
            raise UserError("\n".join(self.problems), code=code)

    @property
    def all_notes(self) -> tuple[str, ...]:
        """All notes, with those of the groups."""
        return (*self.notes, *(note for group in self.all_groups for note in group.notes))


def find(config: DataConfig, folder_field: str = "data.folder") -> DataDiscovery:
    """Discover the images that a run's [data] section names; only their headers are read.

    Args:
        config: the section.
        folder_field: name of its field `folder` in messages.

    Raises:
        UserError: an unknown shipped style, or a dataset TOML that cannot be read.
    """
    groups = tuple(collect(source) for source in sources(config, folder_field))
    if config.shipped is not None:
        return DataDiscovery((with_distinct_names((_shipped_group(config, config.shipped), *groups)),))
    if config.dataset_config is None:
        return DataDiscovery((with_distinct_names(groups),))
    kohya = read_datasets(Path(config.dataset_config), config)
    flat = iter(with_distinct_names([collect(source) for dataset in kohya.datasets for source in dataset]))
    datasets = tuple(tuple(next(flat) for _ in dataset) for dataset in kohya.datasets)
    return DataDiscovery(datasets, kohya.batch_sizes, kohya.notes)


def load_items(
    config: DataConfig, seed: int, hold_back: int = 0, *, batch_size: int | None = None
) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """Discover the images of a [data] section, not decoded: (training set, validation set).

    The seed chooses `hold_back` images for validation first, then `config.limit` of the rest for training. Neither
    includes regularisation images, which are then repeated to match the training images.

    Args:
        config: the section.
        seed: of the run.
        hold_back: number of validation images.
        batch_size: of the run, which a dataset TOML must not contradict.

    Raises:
        UserError: the images cannot be trained on; the message says what to do.
    """
    return select_items(find(config), config, seed=seed, hold_back=hold_back, batch_size=batch_size)


def select_items(
    discovery: DataDiscovery, config: DataConfig, *, seed: int, hold_back: int, batch_size: int | None
) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """Split discovered images into (training set, validation set); arguments and errors as for `load_items`."""
    discovery.refuse_problems()
    for toml_batch_size in discovery.batch_sizes:
        if batch_size is not None and toml_batch_size != batch_size:
            raise UserError(
                f"the dataset TOML states batch_size = {toml_batch_size}, but train.batch_size is {batch_size}; a run "
                "has one size, so set train.batch_size and state no other in the TOML.",
                code="conflicting-options",
            )
    count = len(_numbered_items(discovery))
    if hold_back >= count:
        raise UserError(
            f"validation.images is {hold_back}, but there are only {count} images in all.", code="too-few-images"
        )
    order = stream(seed, "order", 0, 1).permutation(count)
    training, validation = set(order[hold_back:][: config.limit].tolist()), set(order[:hold_back].tolist())
    return _training_items(discovery, training), tuple(
        item for number, item in _numbered_items(discovery) if number in validation
    )


def refuse_batch_of_repeats(batch: int, items: Sequence[Item]) -> None:
    """Raise UserError for a batch larger than the training set, which would hold some images twice."""
    images = sum(item.repeats for item in items)
    if batch > images:
        available = "is only 1 image" if images == 1 else f"are only {images} images"
        raise UserError(
            f"train.batch_size is {batch}, but there {available} to train on, so that a batch would hold the same "
            f"image more than once. Set train.batch_size to {images}{' or less' * (images > 1)}.",
            code="out-of-range",
        )


def _numbered_items(discovery: DataDiscovery) -> list[tuple[int, Item]]:
    """Images except regularisation images, numbered from 0."""
    return list(
        enumerate(item for group in discovery.all_groups if not group.source.regularisation for item in group.items)
    )


def _training_items(discovery: DataDiscovery, chosen: set[int]) -> tuple[Item, ...]:
    """Training set: the chosen images and the regularisation images, with their final repeats."""
    chosen_ids = {id(item) for number, item in _numbered_items(discovery) if number in chosen}
    items: list[Item] = []
    for dataset in discovery.groups:
        items_by_group = {
            id(g): [i for i in g.items if id(i) in chosen_ids] for g in dataset if not g.source.regularisation
        }
        training = _mix_sets([(g, items_by_group[id(g)]) for g in dataset if id(g) in items_by_group])
        total = sum(item.repeats for item in training)
        regularisation = [item for group in dataset if group.source.regularisation for item in group.items]
        items += [
            *training,
            *_with_repeats(regularisation, balance_regularisation([item.repeats for item in regularisation], total)),
        ]
    return tuple(items)


def _mix_sets(groups: Sequence[tuple[Group, list[Item]]]) -> list[Item]:
    """Images of several sets, repeated to the ratios that the sets state."""
    ratios = [group.source.ratio for group, _ in groups]
    stated_ratios = [ratio for ratio in ratios if ratio is not None]
    if not stated_ratios:
        return [item for _, items in groups for item in items]
    for group, items in groups:
        if not items:
            raise UserError(
                f"{group.source.where}: no image of {group.source.folder} is left to train on; raise limit.",
                code="no-images",
            )
    totals = share_epoch([sum(item.repeats for item in items) for _, items in groups], stated_ratios)
    return [
        item
        for (_, items), total in zip(groups, totals, strict=True)
        for item in _with_repeats(items, scale_repeats([i.repeats for i in items], total))
    ]


def _with_repeats(items: Sequence[Item], repeats: Sequence[int]) -> list[Item]:
    return [replace(item, repeats=n) for item, n in zip(items, repeats, strict=True) if n]


def _shipped_group(config: DataConfig, style: str) -> Group:
    """Group of the images of a shipped style."""
    concepts, pixels = _load_concepts(config)
    source = Source("data.shipped", None, config)
    part = source.part(style, config.repeats)
    height, width = pixels.shape[1:3]
    items = tuple(
        Item(concept.code, None, image, (width, height), (concept.caption,), part, repeats=part.repeats)
        for concept, image in zip(concepts, pixels, strict=True)
    )
    return Group(source, items, (f"the shipped style {style}: {len(items)} images with captions, {width}x{height}",))


def _load_concepts(config: DataConfig) -> tuple[tuple[emoji.Concept, ...], NDArray[np.uint8]]:
    """(concepts of a shipped style, their images as uint8 [N, 64, 64, 3])."""
    if config.shipped not in emoji.styles():
        raise unknown("data.shipped", config.shipped, emoji.styles())
    pixels = emoji.images(config.shipped)
    concepts = emoji.concepts(config.shipped)
    if config.concepts != "all":
        indices = [i for i, c in enumerate(concepts) if c.held_out == (config.concepts == "held_out")]
        concepts, pixels = tuple(concepts[i] for i in indices), pixels[indices]
    return concepts, pixels
