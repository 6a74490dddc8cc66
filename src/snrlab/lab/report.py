"""Report of a run: one HTML file that opens offline, made from the run folder alone."""

from __future__ import annotations

import base64
import html
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snrlab.config import RunConfig, dump
from snrlab.config.redact import without_paths
from snrlab.core.bands import BANDS
from snrlab.core.findings.recipe_findings import findings
from snrlab.core.recipe import Recipe
from snrlab.files.writing import write_atomically
from snrlab.lab.asset_files import read_asset
from snrlab.lab.blocks import html_table
from snrlab.lab.figures.run_figures import loss_figure, recipe_figure, validation_figure
from snrlab.lab.statistics import Estimate, change, mean
from snrlab.lab.tables import describe
from snrlab.model_files.resolve import resolve_to_show
from snrlab.runs.folder import RunFolder
from snrlab.runs.logs import StepLine, ValidationLine, read_steps, read_validation

_SMALL = 400  # pixels; a picture up to this width is enlarged pixel by pixel


@dataclass(frozen=True)
class ReportContents:
    """Content of a run folder for its report.

    Attributes:
        records: lines of the step log.
        validation: lines of validation.jsonl.
        grids: PNG files of the sample grids by name, in order.
        evaluation: content of evaluation.json, or None if there is none.
        comparison: the PNG next to evaluation.json, or None if there is none.
    """

    records: list[StepLine]
    validation: list[ValidationLine]
    grids: dict[str, bytes]
    evaluation: dict[str, Any] | None
    comparison: bytes | None


def write_report(folder: Path) -> Path:
    """Write `report.html` into a run folder and return its path."""
    run = RunFolder(folder)
    config = run.read_config()
    evaluation, comparison = run.evaluation_file, run.comparison_file
    contents = ReportContents(
        records=list(read_steps(run.steps_file)),
        validation=list(read_validation(run.validation_file)),
        grids={f"step {step}": file.read_bytes() for step, file in run.grids().items()},
        evaluation=json.loads(evaluation.read_text(encoding="utf-8")) if evaluation.exists() else None,
        comparison=comparison.read_bytes() if comparison.exists() else None,
    )
    write_atomically(run.report, render_report(config, dump(without_paths(config)), contents).encode())
    return run.report


def render_report(config: RunConfig, run_toml: str, contents: ReportContents) -> str:
    """The report as HTML; `run_toml` is the text of the resolved run."""
    recipe = resolve_to_show(config).recipe
    finding_lines = "".join(
        f'<p class="{f.grade}"><b>{f.grade}</b> {html.escape(f.message)} {html.escape(f.action)}</p>'
        for f in findings(recipe)
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{html.escape(config.name)} - snrlab</title><style>{read_asset("report.css")}</style></head><body>
<h1>{html.escape(config.name)}</h1>
<p>{html.escape(_headline(config, contents.records))}</p><p>{html.escape(describe(recipe))}.</p>
{_comparison_section(contents)}{_samples_section(config, contents)}{_validation_section(contents.validation)}
<h2>Training loss</h2>{_training_loss_section(contents.records)}
<h2>Recipe</h2>{_recipe_figures(recipe)}{finding_lines}
<h2>Configuration</h2><pre>{html.escape(run_toml)}</pre>
</body></html>
"""


def _training_loss_section(records: list[StepLine]) -> str:
    if not records:
        return "<p>No step has been taken yet.</p>"
    return f"<figure>{loss_figure(records)}</figure>{_band_table(records)}"


def change_by_band(validation: list[ValidationLine]) -> dict[str, tuple[Estimate, Estimate, Estimate]]:
    """(first, last, last minus first) validation error by SNR band; the change is paired image by image."""
    if len(validation) < 2:
        return {}
    first, last = validation[0], validation[-1]
    means = [{band: mean(np.array(errors)) for band, errors in line["errors"].items()} for line in (first, last)]
    return {band: (means[0][band], means[1][band], difference) for band, difference in change(last, first).items()}


def _recipe_figures(recipe: Recipe) -> str:
    """Figures of weight and emphasis for each stage of the recipe."""
    stages = recipe.by_stage()
    return "".join(
        (f"<h3>From step {start}</h3>" if len(stages) > 1 else "") + f"<figure>{recipe_figure(stage.tables())}</figure>"
        for start, stage in stages
    )


def _comparison_section(contents: ReportContents) -> str:
    """The section on what the LoRA changes: pictures, then numbers."""
    if contents.evaluation is None or contents.comparison is None:
        return ""
    model, lora = contents.evaluation["rows"][:2]
    rows = [
        (name, *(Estimate(**row) for row in (model["measures"][name], value, lora["change"][name])))
        for name, value in lora["measures"].items()
    ]
    head = (
        f"{contents.evaluation['count']} pictures against the true pictures of {contents.evaluation['style']}",
        "without the LoRA",
        "with it",
        "change",
    )
    return (
        f"<h2>What the LoRA changes</h2><figure class=wide>{_image(contents.comparison, 'comparison')}</figure>"
        "<p>The same noise in each column; the LoRA was trained on none of these. In brackets 95 % intervals; paired "
        "distance is 0 where a picture is the true one to the feature network that measures it, caption match is "
        f"finding the concept among 100.</p>{html_table(head, rows)}"
    )


def _samples_section(config: RunConfig, contents: ReportContents) -> str:
    if not contents.grids:
        return ""
    pictures = "".join(
        f"<figure>{_image(png, f'samples, {name}')}<figcaption>{name}</figcaption></figure>"
        for name, png in contents.grids.items()
    )
    prompts = "".join(f"<li>{html.escape(p)}</li>" for p in config.sample.prompts)
    return f"<h2>Samples</h2><div class=grids>{pictures}</div><p>Prompts, row by row:</p><ol>{prompts}</ol>"


def _validation_section(lines: list[ValidationLine]) -> str:
    changes = change_by_band(lines)
    if not changes:
        return ""
    head = ["unweighted epsilon error", *(f"after {lines[i]['step']} steps" for i in (0, -1)), "change"]
    rows: list[list[str | Estimate]] = [[band, *values] for band, values in changes.items()]
    if len(lines) > 2:  # of two measurements the one before the last is the first
        head.append(f"change since step {lines[-2]['step']}")
        latest = change(lines[-1], lines[-2])
        rows = [[*row, latest[band]] for row, band in zip(rows, changes, strict=True)]
    count = len(lines[0]["images"])
    return (
        f"<h2>Validation</h2><p>{count} images that were not trained on, the same noise each time; 95 % "
        f"intervals, of the changes in pairs.</p><figure>{validation_figure(lines)}</figure>" + html_table(head, rows)
    )


def _image(png: bytes, alt: str) -> str:
    kind = " class=small" if int.from_bytes(png[16:20]) <= _SMALL else ""
    return f'<img{kind} alt="{html.escape(alt)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def _headline(config: RunConfig, records: list[StepLine]) -> str:
    train = config.train
    trained = f"LoRA of rank {config.lora.rank}" if train.method == "lora" else "all weights"
    batch = len(records[0]["t"]) if records else train.batch_size * train.gradient_accumulation  # of all devices
    text = f"{trained}; {train.steps} steps of {batch} images, seed {config.seed}, {config.model.precision}"
    seconds = [r["seconds"] for r in records if "seconds" in r]
    return text + (f"; median step {np.median(seconds):.3g} s." if seconds else ".")


def _band_table(records: list[StepLine]) -> str:
    tenth = max(1, len(records) // 10)
    rows = [
        (band, *(_mean([r["bands"][band] for r in part]) for part in (records[:tenth], records[-tenth:])))
        for band in BANDS
    ]
    return html_table(("unweighted training loss", "first tenth of the steps", "last tenth"), rows)


def _mean(values: list[float | None]) -> str:
    numbers = [v for v in values if v is not None]
    return f"{np.mean(numbers):.4g}" if numbers else "-"
