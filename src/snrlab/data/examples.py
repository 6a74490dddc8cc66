"""The examples of a run, as arrays, whatever they came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snrlab.config.data import DataConfig
from snrlab.core.draws import stream
from snrlab.core.errors import UserError, unknown
from snrlab.data import emoji
from snrlab.data.folder import load_pixels, scan


@dataclass(frozen=True, eq=False)
class Examples:
    """Training pictures with their captions.

    Attributes:
        names: file names or code points, for messages.
        captions: one text each.
        pixels: uint8, shape [N, resolution, resolution, 3].
    """

    names: tuple[str, ...]
    captions: tuple[str, ...]
    pixels: NDArray[np.uint8]

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.names)

    def take(self, chosen: NDArray[np.int64]) -> Examples:
        """These examples, in the order they have here."""
        rows = np.sort(chosen)
        return Examples(tuple(self.names[i] for i in rows), tuple(self.captions[i] for i in rows), self.pixels[rows])


def load_examples(config: DataConfig, seed: int, hold_back: int = 0) -> tuple[Examples, Examples]:
    """The examples that a run's [data] section names: (to train on, held back for validation).

    `hold_back` examples are set aside by the seed before `config.limit` chooses among the rest.

    Raises:
        UserError: missing folder, broken images, missing captions, unknown style, nothing left to train on.
    """
    found = _shipped(config) if config.shipped is not None else _folder(config)
    if hold_back >= len(found):
        raise UserError(f"validation.images is {hold_back}, but there are only {len(found)} images in all.")
    order = stream(seed, "order", 0, 1).permutation(len(found))
    return found.take(order[hold_back:][: config.limit]), found.take(order[:hold_back])


def _folder(config: DataConfig) -> Examples:
    folder = scan(Path(config.folder or ""))
    problems = folder.problems(config.caption)
    if problems:
        raise UserError("data.folder: " + "\n".join(problems))
    pixels = np.stack([load_pixels(image.path, config.resolution) for image in folder.images])
    captions = (config.caption or "" if image.caption is None else image.caption for image in folder.images)
    return Examples(tuple(image.path.name for image in folder.images), tuple(captions), pixels)


def _shipped(config: DataConfig) -> Examples:
    from PIL import Image

    if config.shipped not in emoji.styles():
        raise unknown("data.shipped", config.shipped, emoji.styles())
    pixels = emoji.images(config.shipped)
    concepts = emoji.concepts(config.shipped)
    if config.concepts != "all":
        wanted = [i for i, c in enumerate(concepts) if c.held_out == (config.concepts == "held_out")]
        concepts, pixels = tuple(concepts[i] for i in wanted), pixels[wanted]
    size = config.resolution
    if size != pixels.shape[1]:
        scaled = [Image.fromarray(p).resize((size, size), Image.Resampling.LANCZOS) for p in pixels]
        pixels = np.stack([np.asarray(p) for p in scaled])
    return Examples(tuple(c.code for c in concepts), tuple(c.caption for c in concepts), pixels)
