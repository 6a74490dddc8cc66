"""The demo's evaluation of its LoRAs: pictures without and with each next to the true ones, measured with intervals.

Everything is computed from the files in the run folders: the LoRAs are loaded from their finished files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from snrlab.core.errors import UserError
from snrlab.data import emoji
from snrlab.data.emoji import Concept
from snrlab.evaluate.evaluation import Evaluation, choose_concepts, draw_concepts, measure_drawn, seen_in_training
from snrlab.evaluate.open_model import open_model
from snrlab.files.writing import write_atomically
from snrlab.lab.card import write_card
from snrlab.lab.report import write_report
from snrlab.pictures.grids import labelled
from snrlab.pictures.png_metadata import parameters, save_png
from snrlab.runs.folder import RunFolder

COUNT = 32
ZOOM = 2
Pictures = NDArray[np.uint8]


def showcase(folders: Mapping[str, RunFolder], count: int = COUNT) -> dict[str, Evaluation]:
    """Draw and measure without a LoRA and with each; write evaluation.json, comparison.png and the reports again.

    The first concepts are those named by the prompts, which are also the ones in comparison.png; the others are known
    to the base model. The LoRAs were trained on none of them.

    Args:
        folders: runs that differ in their recipe alone, by the name of the recipe.
        count: number of concepts that are measured.

    Raises:
        UserError: the data is not a shipped style, or a prompt is not a concept of it or was trained on.
    """
    first = next(iter(folders.values()))
    config = first.read_config()
    style = config.data.shipped
    if style is None:
        raise UserError(
            f"{first.path} was not trained on a shipped style, so there are no true pictures to compare.",
            code="not-supported",
        )
    seen = seen_in_training(config)
    shown = _prompted_concepts(config.sample.prompts, style, seen)
    others = choose_concepts(style, "known", count + len(shown), seen)
    concepts = [*shown, *(c for c in others if c not in shown)][:count]
    true = emoji.images(style)[[emoji.concepts(style).index(c) for c in shown]]
    rows: dict[str, Pictures] = {f"true, {style}": true}
    evaluations: dict[str, Evaluation] = {}
    for recipe, folder in folders.items():
        drawn = draw_concepts(open_model(folder.path), concepts, config.sample, (1.0,), bare=not evaluations)
        bare = rows.setdefault("without a LoRA", drawn.pop((None, None), true))
        evaluation = measure_drawn(concepts, style, {(None, None): bare, **drawn}, kid=False)
        evaluations[recipe] = replace(evaluation, left_out=len(seen))
        rows[f"LoRA, {recipe}"] = drawn["final", 1.0]
    table = _table(rows, shown)
    for recipe, folder in folders.items():
        _write(folder, evaluations[recipe], table)
    return evaluations


def _write(folder: RunFolder, evaluation: Evaluation, table: Image.Image) -> None:
    config = folder.read_config()
    save_png(table, parameters(config.sample, table.size, config.name), folder.comparison_file)
    write_atomically(folder.evaluation_file, (json.dumps(asdict(evaluation), indent=1) + "\n").encode())
    if config.output.report:
        write_report(folder.path)
    if config.output.model_card:
        write_card(folder.path)


def _table(rows: Mapping[str, Pictures], shown: Sequence[Concept]) -> Image.Image:
    cells = [[_enlarge(pixels) for pixels in pictures[: len(shown)]] for pictures in rows.values()]
    return labelled(cells, list(rows), [c.name for c in shown])


def _prompted_concepts(prompts: Sequence[str], style: str, seen: Sequence[str]) -> list[Concept]:
    by_name = {c.name: c for c in emoji.concepts(style)}
    for prompt in prompts:
        if prompt not in by_name:
            raise UserError(f"sample.prompts: '{prompt}' is not a concept of the style {style}.", code="unknown-name")
        if by_name[prompt].code in seen:
            raise UserError(
                f"sample.prompts: '{prompt}' was trained on; the comparison would show what was memorised.",
                code="images-overlap",
            )
    return [by_name[prompt] for prompt in prompts]


def _enlarge(pixels: Pictures) -> Image.Image:
    picture = Image.fromarray(pixels)
    return picture.resize((picture.width * ZOOM, picture.height * ZOOM), Image.Resampling.NEAREST)
