"""The images of a run, whatever they come from: which are trained on, which held back, and how often each is seen."""

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
from snrlab.data.discovery import Group, collect, distinct
from snrlab.data.image_source import Source, sources
from snrlab.data.items import Item
from snrlab.data.kohya.dataset_toml import read_datasets
from snrlab.data.repeats import balanced, shared, spread


@dataclass(frozen=True)
class DataDiscovery:
    """What a run's [data] section leads to.

    Attributes:
        groups: by dataset, each of one or several sources; regularisation is balanced within a dataset.
        batch_sizes: those that a dataset TOML states.
        notes: what the user may want to know, besides the groups' own.
    """

    groups: tuple[tuple[Group, ...], ...]
    batch_sizes: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()

    @property
    def all_groups(self) -> tuple[Group, ...]:
        """The groups of all datasets."""
        return tuple(group for dataset in self.groups for group in dataset)

    @property
    def problems(self) -> tuple[str, ...]:
        """All that keeps the images from being trained on."""
        return tuple(problem for group in self.all_groups for problem in group.problems)

    def refuse_problems(self) -> None:
        """Raise UserError with all of the problems, if there are any."""
        if self.problems:
            code = one_code(group.code for group in self.all_groups if group.problems)
            raise UserError("\n".join(self.problems), code=code)

    @property
    def remarks(self) -> tuple[str, ...]:
        """All that the user may want to know."""
        return (*self.notes, *(note for group in self.all_groups for note in group.notes))


def find(config: DataConfig, folder_field: str = "data.folder") -> DataDiscovery:
    """Look for the images that a run's [data] section names; only their headers are read.

    Args:
        config: the section.
        folder_field: what messages call its `folder`.

    Raises:
        UserError: a shipped style that there is none of, or a dataset TOML that cannot be read.
    """
    groups = tuple(collect(source) for source in sources(config, folder_field))
    if config.shipped is not None:
        return DataDiscovery((distinct((_shipped(config, config.shipped), *groups)),))
    if config.dataset_config is None:
        return DataDiscovery((distinct(groups),))
    kohya = read_datasets(Path(config.dataset_config), config)
    flat = iter(distinct([collect(source) for dataset in kohya.datasets for source in dataset]))
    datasets = tuple(tuple(next(flat) for _ in dataset) for dataset in kohya.datasets)
    return DataDiscovery(datasets, kohya.batch_sizes, kohya.notes)


def load_items(
    config: DataConfig, seed: int, hold_back: int = 0, *, batch_size: int | None = None
) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """The images that a run's [data] section names, not decoded: (to train on, held back for validation).

    `hold_back` images are set aside by the seed before `config.limit` chooses among the rest; neither counts
    regularisation images, which then are repeated to the number of the others.

    Args:
        config: the section.
        seed: of the run.
        hold_back: images set aside.
        batch_size: of the run, which a dataset TOML may not contradict.

    Raises:
        UserError: what was found cannot be trained on; the message says what to do.
    """
    return settle(find(config), config, seed=seed, hold_back=hold_back, batch_size=batch_size)


def settle(
    found: DataDiscovery, config: DataConfig, *, seed: int, hold_back: int, batch_size: int | None
) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """What `load_items` gives, of images that were looked for before."""
    found.refuse_problems()
    for stated in found.batch_sizes:
        if batch_size is not None and stated != batch_size:
            raise UserError(
                f"the dataset TOML states batch_size = {stated}, but train.batch_size is {batch_size}; a run has one "
                "size, so set train.batch_size and state no other in the TOML.",
                code="conflicting-options",
            )
    count = len(_numbered(found))
    if hold_back >= count:
        raise UserError(
            f"validation.images is {hold_back}, but there are only {count} images in all.", code="too-few-images"
        )
    order = stream(seed, "order", 0, 1).permutation(count)
    trained, held_back = set(order[hold_back:][: config.limit].tolist()), set(order[:hold_back].tolist())
    return _trained(found, trained), tuple(item for place, item in _numbered(found) if place in held_back)


def refuse_batch_of_repeats(batch: int, items: Sequence[Item]) -> None:
    """Refuse a batch of more images than there are: some would be in it twice (UserError)."""
    images = sum(item.repeats for item in items)
    if batch > images:
        there = "is only 1 image" if images == 1 else f"are only {images} images"
        raise UserError(
            f"train.batch_size is {batch}, but there {there} to train on, so that a batch would hold the same image "
            f"more than once. Set train.batch_size to {images}{' or less' * (images > 1)}.",
            code="out-of-range",
        )


def _numbered(found: DataDiscovery) -> list[tuple[int, Item]]:
    """Images that are no regularisation, numbered from 0."""
    return list(enumerate(i for g in found.all_groups if not g.source.regularisation for i in g.items))


def _trained(found: DataDiscovery, chosen: set[int]) -> tuple[Item, ...]:
    """The chosen images and the regularisation images beside them, with the repeats that they end up with."""
    kept = {id(item) for place, item in _numbered(found) if place in chosen}
    items: list[Item] = []
    for dataset in found.groups:
        own = {id(g): [i for i in g.items if id(i) in kept] for g in dataset if not g.source.regularisation}
        mixed = _mixed([(g, own[id(g)]) for g in dataset if id(g) in own])
        total = sum(item.repeats for item in mixed)
        beside = [item for group in dataset if group.source.regularisation for item in group.items]
        items += [*mixed, *_repeated(beside, balanced([item.repeats for item in beside], total))]
    return tuple(items)


def _mixed(groups: Sequence[tuple[Group, list[Item]]]) -> list[Item]:
    """The images of several sets, seen in the shares that are stated."""
    ratios = [group.source.ratio for group, _ in groups]
    stated = [ratio for ratio in ratios if ratio is not None]
    if not stated:
        return [item for _, items in groups for item in items]
    for group, items in groups:
        if not items:
            raise UserError(
                f"{group.source.where}: no image of {group.source.folder} is left to train on; raise limit.",
                code="no-images",
            )
    totals = shared([sum(item.repeats for item in items) for _, items in groups], stated)
    return [
        item
        for (_, items), total in zip(groups, totals, strict=True)
        for item in _repeated(items, spread([i.repeats for i in items], total))
    ]


def _repeated(items: Sequence[Item], repeats: Sequence[int]) -> list[Item]:
    return [replace(item, repeats=n) for item, n in zip(items, repeats, strict=True) if n]


def _shipped(config: DataConfig, style: str) -> Group:
    concepts, pixels = _concepts(config)
    source = Source("data.shipped", None, config)
    part = source.part(style, config.repeats)
    height, width = pixels.shape[1:3]
    items = tuple(
        Item(c.code, None, p, (width, height), (c.caption,), part, repeats=part.repeats)
        for c, p in zip(concepts, pixels, strict=True)
    )
    return Group(source, items, (f"the shipped style {style}: {len(items)} images with captions, {width}x{height}",))


def _concepts(config: DataConfig) -> tuple[tuple[emoji.Concept, ...], NDArray[np.uint8]]:
    """Concepts of a shipped style and their pictures [N, 64, 64, 3]."""
    if config.shipped not in emoji.styles():
        raise unknown("data.shipped", config.shipped, emoji.styles())
    pixels = emoji.images(config.shipped)
    concepts = emoji.concepts(config.shipped)
    if config.concepts != "all":
        wanted = [i for i, c in enumerate(concepts) if c.held_out == (config.concepts == "held_out")]
        concepts, pixels = tuple(concepts[i] for i in wanted), pixels[wanted]
    return concepts, pixels
