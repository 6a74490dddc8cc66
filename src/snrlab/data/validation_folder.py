"""Images to measure on that are a folder of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snrlab.config.sections.data import DataConfig
from snrlab.core.errors import UserError
from snrlab.data.dataset import find
from snrlab.data.items import Item

_ELSEWHERE: dict[str, Any] = {
    "sets": [],
    "dataset_config": None,
    "shipped": None,
    "regularisation": None,
    "limit": None,
}
_PLAIN = {"repeats": 1, "concepts": "all", "masked_loss": False, "masks": None, "alpha_mask": False}


def validation_items(data: DataConfig, folder: str, trained: Sequence[Item]) -> tuple[Item, ...]:
    """The images of validation.folder, cut and captioned as [data] says of the others.

    Args:
        data: the run's section, of which the source is not used.
        folder: the images' folder.
        trained: the images that are trained on.

    Raises:
        UserError: images that cannot be used, or that are trained on too.
    """
    found = find(data.model_copy(update=_ELSEWHERE | _PLAIN | {"folder": folder}), "validation.folder")
    found.refuse_problems()
    items = tuple(item for group in found.all_groups for item in group.items)
    files = {item.file.resolve() for item in trained if item.file is not None}
    both = [item.name for item in items if item.file is not None and item.file.resolve() in files]
    if both:
        raise UserError(
            f"validation.folder: {len(both)} of {len(items)} images in {Path(folder).name} are trained on too, "
            f"{both[0]} the first. What is measured on them is memory; choose images that are not in [data].",
            code="images-overlap",
        )
    return items
