"""Picture grids, and PNG files with generation parameters."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from snrlab.config.sections.output import SampleConfig
from snrlab.pictures.png_metadata import parameters, save_png


def save_grid(pictures: Sequence[Image.Image], config: SampleConfig, path: Path, model: str) -> None:
    """Write a grid of pictures as a PNG with its generation parameters in the form that web UIs read."""
    save_png(tiled(pictures), parameters(config, pictures[0].size, model), path)


def tiled(pictures: Sequence[Image.Image]) -> Image.Image:
    """Grid of pictures, filled row by row, about square, with cells as large as the largest picture."""
    columns = math.ceil(math.sqrt(len(pictures)))
    width, height = (max(picture.size[side] for picture in pictures) for side in (0, 1))
    grid = Image.new("RGB", (columns * width, math.ceil(len(pictures) / columns) * height), "white")
    for index, picture in enumerate(pictures):
        grid.paste(picture, (index % columns * width, index // columns * height))
    return grid


def labelled(cells: Sequence[Sequence[Image.Image]], rows: Sequence[str], columns: Sequence[str]) -> Image.Image:
    """Table of equally sized pictures, with a label for each row and column."""
    width, height = cells[0][0].size
    size = max(11, min(height // 8, 16 + height // 32))  # legible where the table is shown smaller, too
    font = ImageFont.load_default(size)
    left = max(math.ceil(font.getlength(label)) for label in rows) + 12
    lines = [textwrap.wrap(label, max(4, int(width / font.getlength("n")))) or [""] for label in columns]
    line = math.ceil(size * 1.25)
    top = line * max(map(len, lines)) + 6
    table = Image.new("RGB", (left + len(columns) * (width + 4), top + len(rows) * (height + 4)), "white")
    draw = ImageDraw.Draw(table)
    for column, text in enumerate(lines):
        draw.multiline_text((left + column * (width + 4) + 2, 2), "\n".join(text), "black", font, spacing=2)
    for row, label in enumerate(rows):
        draw.text((4, top + row * (height + 4) + height // 2 - line // 2), label, "black", font)
        for column, picture in enumerate(cells[row]):
            table.paste(picture, (left + column * (width + 4), top + row * (height + 4)))
    return table
