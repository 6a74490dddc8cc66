"""Report of a run: one HTML file that opens offline, made from the run folder alone, also while the run goes on."""

from __future__ import annotations

import html
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from snrlab.config import RunConfig, dump
from snrlab.config.redact import without_paths
from snrlab.core.bands import BAND_WORDS, BANDS
from snrlab.core.findings.recipe_findings import findings
from snrlab.core.recipe import Recipe
from snrlab.files.writing import write_atomically
from snrlab.lab.asset_files import read_asset
from snrlab.lab.blocks import html_table
from snrlab.lab.figures.run_figures import loss_figure, recipe_figure, validation_figure
from snrlab.lab.report_parts.changed_settings import settings_section
from snrlab.lab.report_parts.contents import ReportContents, read_contents
from snrlab.lab.report_parts.facts import facts_section
from snrlab.lab.report_parts.sample_table import png_tag, samples_section
from snrlab.lab.report_parts.verdict import MEASURE_WORDS, direction_mark, main_row, result_sentences
from snrlab.lab.statistics import Estimate, change, mean
from snrlab.lab.tables import describe
from snrlab.model_files.resolve import resolve_to_show
from snrlab.runs.folder import RunFolder
from snrlab.runs.logs import StepLine, ValidationLine
from snrlab.runs.status import RunState


def write_report(folder: Path, state: RunState | None = None) -> Path:
    """Write `report.html` into a run folder and return its path.

    Args:
        folder: folder of a started run.
        state: what the caller knows the run to be; by default what its folder says.
    """
    run = RunFolder(folder)
    config = run.read_config()
    write_atomically(run.report, render_report(config, read_contents(run, config, state), run).encode())
    return run.report


def render_report(config: RunConfig, contents: ReportContents, run: RunFolder) -> str:
    """The report as HTML; the page of a run that is running reloads itself."""
    recipe = resolve_to_show(config).recipe
    shareable = without_paths(config)
    script = f"<script>{read_asset('report.js')}</script>" if contents.state == "running" else ""
    title = html.escape(config.output.title or config.name)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title} - snrlab</title><style>{read_asset("report.css")}</style></head><body>
<h1>{title}</h1>
{_verdict_section(config, contents)}{facts_section(config, contents)}
{_comparison_section(contents)}{samples_section(config.sample.prompts, contents.samples, run.path)}
{_validation_section(contents.validation)}
<h2>Training loss</h2>{_training_loss_section(contents.records)}
<h2>Recipe</h2><p>{html.escape(_as_sentence(describe(recipe)))}</p>{_finding_lines(recipe)}{_recipe_figures(recipe)}
{settings_section(shareable, dump(shareable))}
{script}</body></html>
"""


def change_by_band(validation: list[ValidationLine]) -> dict[str, tuple[Estimate, Estimate, Estimate]]:
    """(first, last, last minus first) validation error by SNR band; the change is paired image by image."""
    if len(validation) < 2:
        return {}
    first, last = validation[0], validation[-1]
    means = [{band: mean(np.array(errors)) for band, errors in line["errors"].items()} for line in (first, last)]
    return {band: (means[0][band], means[1][band], difference) for band, difference in change(last, first).items()}


def _verdict_section(config: RunConfig, contents: ReportContents) -> str:
    """The first sentences; of a run that measures nothing, how the next one can."""
    sentences = result_sentences(contents.validation, contents.evaluation, lora=config.train.method == "lora")
    if not sentences and contents.state == "finished":
        sentences = [
            "Nothing was measured on images outside the training set, so numbers cannot say what got better. "
            "Compare the sample pictures; for numbers, set validation.images in the next run."
        ]
    return "".join(f'<p class="verdict">{html.escape(sentence)}</p>' for sentence in sentences)


def _training_loss_section(records: list[StepLine]) -> str:
    if not records:
        return "<p>No step has been taken yet.</p>"
    return (
        "<p>The mean squared error before any weighting, smoothed. It jumps with the noise levels that a step happens "
        "to pick; errors on images outside the training set say more.</p>"
        f'<figure class="themed">{loss_figure(records)}</figure>{_band_table(records)}'
    )


def _finding_lines(recipe: Recipe) -> str:
    return "".join(
        f'<p class="{f.grade}"><b>{f.grade}</b> {html.escape(f.message)} {html.escape(f.action)}</p>'
        for f in findings(recipe)
    )


@lru_cache(maxsize=4)  # matplotlib takes half a second, and a run that is watched shows the same recipe each time
def _recipe_figures(recipe: Recipe) -> str:
    """Figures of weight and emphasis for each stage of the recipe."""
    stages = recipe.by_stage()
    return "".join(
        (f"<h3>From step {start}</h3>" if len(stages) > 1 else "") + f"<figure>{recipe_figure(stage.tables())}</figure>"
        for start, stage in stages
    )


def _comparison_section(contents: ReportContents) -> str:
    """The section on what training changed: pictures, then numbers."""
    evaluation = contents.evaluation
    row = main_row(evaluation) if evaluation is not None else None
    if evaluation is None or row is None:
        return ""
    picture = contents.comparison
    shown = f'<figure class="wide">{png_tag(picture, "pictures without and with")}</figure>' if picture else ""
    head = ("measure", "without", "with", "change", "")
    return (
        f"<h2>What the LoRA changes</h2>{shown}<p>{evaluation['count']} pictures, each from the same noise without and "
        f"with the LoRA, against the true pictures of {html.escape(str(evaluation['style']))}. It was trained on none "
        f"of them. Brackets hold 95 % intervals; a change is unclear where its interval includes 0.</p>"
        f"{html_table(head, _measure_rows(evaluation, row))}"
        f"<ul>{_measure_list(row)}</ul>"
    )


def _measure_rows(evaluation: dict[str, Any], row: Any) -> list[tuple[str | Estimate, ...]]:
    """Lines of the table of measures: without, with, change, and its direction where it has one."""
    rows = []
    for name, difference in row["change"].items():
        moved = Estimate(**difference)
        words = MEASURE_WORDS.get(name)
        mark = direction_mark(moved, higher_is_better=words.higher_is_better) if words else ""
        values = (Estimate(**one["measures"][name]) for one in (evaluation["rows"][0], row))
        rows.append((name, *values, moved, mark))
    return rows


def _measure_list(row: Any) -> str:
    """What each measure means."""
    return "".join(
        f"<li><b>{name}</b>: {words.explanation}; {'higher' if words.higher_is_better else 'lower'} is better</li>"
        for name, words in MEASURE_WORDS.items()
        if name in row["change"]
    )


def _validation_section(lines: list[ValidationLine]) -> str:
    changes = change_by_band(lines)
    if not changes:
        return ""
    head = ["error by noise level", *(f"after {lines[i]['step']} steps" for i in (0, -1)), "change", ""]
    rows: list[list[str | Estimate]] = [
        [BAND_WORDS[band], *values, direction_mark(values[2], higher_is_better=False)]
        for band, values in changes.items()
    ]
    if len(lines) > 2:  # of two measurements the one before the last is the first
        head.append(f"change since step {lines[-2]['step']}")
        latest = change(lines[-1], lines[-2])
        rows = [[*row, latest[band]] for row, band in zip(rows, changes, strict=True)]
    count = len(lines[0]["images"])
    return (
        f"<h2>Validation</h2><p>The error on {count} images that were not trained on, with the same noise each time, "
        "before any weighting. Lower is better. Bars and brackets hold 95 % intervals of the change from image to "
        f'image.</p><figure class="themed">{validation_figure(lines)}</figure>{html_table(head, rows)}'
    )


def _as_sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _band_table(records: list[StepLine]) -> str:
    tenth = max(1, len(records) // 10)
    rows = [
        (BAND_WORDS[band], *(_mean([r["bands"][band] for r in part]) for part in (records[:tenth], records[-tenth:])))
        for band in BANDS
    ]
    return html_table(("training loss by noise level", "first tenth of the steps", "last tenth"), rows)


def _mean(values: list[float | None]) -> str:
    numbers = [v for v in values if v is not None]
    return f"{np.mean(numbers):.4g}" if numbers else "-"
