"""Picture grids, and PNG files with generation parameters."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from snrlab.config.sections.output import SampleConfig
from snrlab.files.writing import atomically
from snrlab.models.encode_rule import PLAIN_RULE, EncodeRule
from snrlab.pictures.requests import SampleRequest


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


def save_png(picture: Image.Image, text: str, path: Path) -> None:
    """Write a PNG with generation parameters in it, atomically."""
    info = PngInfo()
    info.add_text("parameters", text)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomically(path) as file:
        picture.save(file, format="PNG", pnginfo=info)


def parameters(config: SampleConfig, size: tuple[int, int], model: str) -> str:
    """Generation parameters of a grid in the text form of A1111."""
    return (
        f"{' | '.join(config.prompts)}\nNegative prompt: {config.negative}\n"
        f"Steps: {config.steps}, Sampler: DDIM, CFG scale: {config.guidance:g}, Seed: {config.seed}, "
        f"Size: {size[0]}x{size[1]}, Model: {model}"
        + (f", Epsilon scaling: {config.epsilon_scaling:g}" if config.epsilon_scaling != 1 else "")
    )


def request_parameters(
    request: SampleRequest, model: str, rule: EncodeRule = PLAIN_RULE, *, epsilon_scaling: float = 1.0
) -> str:
    """Generation parameters of one picture in the text form of A1111.

    Args:
        request: the request that the picture was drawn from.
        model: name of the model; never a path.
        rule: the rule by which the prompt was encoded.
        epsilon_scaling: divisor of the predicted noise.
    """
    settings = {
        "Steps": request.steps,
        "Sampler": "DDIM",
        "CFG scale": f"{request.guidance:g}",
        "Seed": request.seed,
        "Size": f"{request.width}x{request.height}",
        "Model": _quoted(model),
        "Clip skip": rule.clip_skip,
        "Noise": request.place or None,
        "Epsilon scaling": f"{epsilon_scaling:g}" if epsilon_scaling != 1 else None,
    }
    lines = [request.prompt] + ([f"Negative prompt: {request.negative}"] if request.negative else [])
    return "\n".join([*lines, ", ".join(f"{key}: {value}" for key, value in settings.items() if value is not None)])


def _quoted(text: str) -> str:
    """A value as A1111 writes it: in quotes where it contains a separator."""
    return json.dumps(text, ensure_ascii=False) if set(",:\n") & set(text) else text
