"""Emoji data set that ships with the package: the same 1,376 concepts in several styles, 64 px on white.

Sheets and list are built by `scripts/build_emoji.py`; their sources and licences are in NOTICE.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snrlab.core.errors import unknown
from snrlab.data.emoji.computed_styles import COMPUTED_STYLES

_SOURCE = "noto"  # the style from which others are computed


@dataclass(frozen=True)
class Concept:
    """Concept that the styles draw.

    Attributes:
        code: Unicode code points, such as 1f600.
        name: English name.
        tags: further words for it.
        group: smileys, people, animals, food, places, activities or objects.
    """

    code: str
    name: str
    tags: tuple[str, ...]
    group: str

    @property
    def caption(self) -> str:
        """Name and tags, separated by commas."""
        return ", ".join((self.name, *self.tags))

    @property
    def held_out(self) -> bool:
        """Whether the shipped weights were never trained on this concept in any style; true of one in twenty."""
        return zlib.crc32(self.code.encode()) % 20 == 0


def drawn_styles() -> tuple[str, ...]:
    """Names of the styles that artists drew, which the shipped weights were trained on."""
    return tuple(_listing()["styles"])


def styles() -> tuple[str, ...]:
    """Names of all styles: the drawn ones, and those computed from Noto."""
    return (*drawn_styles(), *COMPUTED_STYLES)


@cache
def concepts(style: str) -> tuple[Concept, ...]:
    """Concepts of a style, in the order of its images.

    Raises:
        UserError: there is no such style.
    """
    missing = set(_style(style)["missing"])
    return tuple(
        Concept(c["code"], c["name"], tuple(c["tags"]), c["group"])
        for c in _listing()["concepts"]
        if c["code"] not in missing
    )


@cache
def images(style: str) -> NDArray[np.uint8]:
    """Images of a style in the order of `concepts(style)`, uint8 [N, 64, 64, 3], read-only.

    Raises:
        UserError: there is no such style.
    """
    from PIL import Image

    if style in COMPUTED_STYLES:
        computed = COMPUTED_STYLES[style](images(_SOURCE))
        computed.setflags(write=False)
        return computed
    with resources.files(__name__).joinpath(_style(style)["sheet"]).open("rb") as file:
        sheet = np.asarray(Image.open(file).convert("RGB"))
    tile, columns = _listing()["tile"], _listing()["columns"]
    rows = len(sheet) // tile
    tiles = sheet.reshape(rows, tile, columns, tile, 3).swapaxes(1, 2).reshape(-1, tile, tile, 3)
    pixels = np.ascontiguousarray(tiles[: len(concepts(style))])
    pixels.setflags(write=False)
    return pixels


def _style(name: str) -> dict[str, Any]:
    if name not in styles():
        raise unknown("style", name, styles())
    return dict(_listing()["styles"][_SOURCE if name in COMPUTED_STYLES else name])


@cache
def _listing() -> dict[str, Any]:
    text = resources.files(__name__).joinpath("concepts.json").read_text(encoding="utf-8")
    return dict(json.loads(text))
