"""Validation set from a folder of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snrlab.config.sections.data import DataConfig
from snrlab.core.errors import UserError
from snrlab.data.dataset import find
from snrlab.data.items import Item

_NO_OTHER_SOURCES: dict[str, Any] = {
    "sets": [],
    "dataset_config": None,
    "shipped": None,
    "regularisation": None,
    "limit": None,
}
_PLAIN_OPTIONS = {"repeats": 1, "concepts": "all", "masked_loss": False, "masks": None, "alpha_mask": False}


def validation_items(data: DataConfig, folder: str, trained: Sequence[Item]) -> tuple[Item, ...]:
    """Images of validation.folder, with the resolution and caption options of [data].

    Args:
        data: the run's section; its sources are ignored.
        folder: of the validation images.
        trained: the training set.

    Raises:
        UserError: images that cannot be used, or that are also trained on.
    """
    discovery = find(
        data.model_copy(update=_NO_OTHER_SOURCES | _PLAIN_OPTIONS | {"folder": folder}), "validation.folder"
    )
    discovery.refuse_problems()
    items = tuple(item for group in discovery.all_groups for item in group.items)
    training_files = {item.file.resolve() for item in trained if item.file is not None}
    overlapping = [item.name for item in items if item.file is not None and item.file.resolve() in training_files]
    if overlapping:
        raise UserError(
            f"validation.folder: {len(overlapping)} of {len(items)} images in {Path(folder).name} are trained on too, "
            f"{overlapping[0]} the first. What is measured on them is memory; choose images that are not in [data].",
            code="images-overlap",
        )
    return items
