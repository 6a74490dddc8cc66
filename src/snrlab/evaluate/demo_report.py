"""The demo's evaluation of its LoRA: pictures without and with it next to the true ones, and measures with intervals.

Everything is computed from the files in the run folder: the LoRA is loaded from its finished file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
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

COUNT = 48
ZOOM = 2


def showcase(folder: RunFolder, count: int = COUNT) -> Evaluation:
    """Draw and measure with and without the LoRA; write evaluation.json, comparison.png and the report again.

    The first concepts are those named by the run's prompts, which are also the ones in comparison.png; the others are
    known to the base model. The LoRA was trained on none of them.

    Raises:
        UserError: the run's data is not a shipped style, or a prompt is not a concept of it or was trained on.
    """
    config = folder.read_config()
    style = config.data.shipped
    if style is None:
        raise UserError(
            f"{folder.path} was not trained on a shipped style, so there are no true pictures to compare.",
            code="not-supported",
        )
    saved, seen = open_model(folder.path), seen_in_training(config)
    shown = _prompted_concepts(config.sample.prompts, style, seen)
    others = choose_concepts(style, "known", count + len(shown), seen)
    concepts = [*shown, *(c for c in others if c not in shown)][:count]
    drawn = draw_concepts(saved, concepts, config.sample, (1.0,))
    evaluation = replace(measure_drawn(concepts, style, drawn, kid=False), left_out=len(seen))
    true = emoji.images(style)[[emoji.concepts(style).index(c) for c in shown]]
    rows = {f"true, {style}": true, "without the LoRA": drawn[None, None], "with the LoRA": drawn["final", 1.0]}
    cells = [[_enlarge(pixels) for pixels in pictures[: len(shown)]] for pictures in rows.values()]
    table = labelled(cells, list(rows), [c.name for c in shown])
    save_png(table, parameters(config.sample, table.size, config.name), folder.comparison_file)
    write_atomically(folder.evaluation_file, (json.dumps(asdict(evaluation), indent=1) + "\n").encode())
    if config.output.report:
        write_report(folder.path)
    if config.output.model_card:
        write_card(folder.path)
    return evaluation


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


def _enlarge(pixels: np.ndarray) -> Image.Image:
    picture = Image.fromarray(pixels)
    return picture.resize((picture.width * ZOOM, picture.height * ZOOM), Image.Resampling.NEAREST)
