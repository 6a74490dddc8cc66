"""A run's report: one HTML file that opens offline, made from the run folder alone."""

from __future__ import annotations

import base64
import html
import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np

from snrlab.config import RunConfig, dump, parse
from snrlab.config.recipe import build_recipe
from snrlab.core.bands import BANDS
from snrlab.core.findings import findings
from snrlab.core.schedule import SCHEDULES
from snrlab.lab.figures import loss_figure, recipe_figure
from snrlab.lab.tables import describe

CSS = """
:root { color-scheme: light dark; --ink: #1b1b1f; --paper: #ffffff; --soft: #f1f2f6; --line: #d4d6df; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececf1; --paper: #17181c; --soft: #23252c; --line: #3a3d47; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
       max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2rem; border-bottom: 1px solid var(--line); }
figure { margin: 1rem 0; background: #fff; border-radius: 8px; padding: .5rem; }
figure svg { width: 100%; height: auto; }
.grids { display: flex; flex-wrap: wrap; gap: 1rem; } .grids figure { background: var(--soft); }
.grids img { width: 18rem; image-rendering: pixelated; display: block; }
table { border-collapse: collapse; }
th, td { padding: .25rem .75rem; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
.error, .warning, .info { padding: .4rem .7rem; margin: .4rem 0; border-left: 4px solid; background: var(--soft); }
.error { border-color: #d55e00; } .warning { border-color: #e69f00; } .info { border-color: #0072b2; }
pre { background: var(--soft); padding: 1rem; overflow-x: auto; font-size: .85rem; }
"""


def write_report(folder: Path) -> Path:
    """Write `report.html` into a run folder and return its path."""
    text = (folder / "run.toml").read_text(encoding="utf-8")
    config = parse(tomllib.loads(text), source=str(folder / "run.toml"))
    lines = (folder / "steps.jsonl").read_text(encoding="utf-8").splitlines()
    path = folder / "report.html"
    temporary = path.with_name(path.name + ".tmp")
    page = render(config, dump(_shareable(config)), [json.loads(line) for line in lines], _grids(folder))
    temporary.write_text(page, encoding="utf-8")
    return temporary.replace(path)


def render(config: RunConfig, run_toml: str, records: list[dict[str, Any]], grids: dict[str, bytes]) -> str:
    """The report as HTML.

    Args:
        config: the resolved run.
        run_toml: its text.
        records: lines of the step log.
        grids: PNG files of sample grids by name, in order.
    """
    recipe = build_recipe(config.recipe, schedule=SCHEDULES.bind("sd"), prediction_type="epsilon")
    tables = recipe.tables()
    remarks = "".join(
        f'<p class="{f.grade}"><b>{f.grade}</b> {html.escape(f.message)} {html.escape(f.action)}</p>'
        for f in findings(recipe, tables)
    )
    pictures = "".join(
        f'<figure><img alt="samples, {name}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
        f"<figcaption>{name}</figcaption></figure>"
        for name, png in grids.items()
    )
    prompts = "".join(f"<li>{html.escape(p)}</li>" for p in config.sample.prompts)
    samples = f"<h2>Samples</h2><div class=grids>{pictures}</div><p>Prompts, row by row:</p><ol>{prompts}</ol>"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{html.escape(config.name)} - snrlab</title><style>{CSS}</style></head><body>
<h1>{html.escape(config.name)}</h1>
<p>{html.escape(_headline(config, records))}</p><p>{html.escape(describe(recipe))}.</p>
{samples if grids else ""}
<h2>Loss</h2><figure>{loss_figure(records)}</figure>{_band_table(records)}
<h2>Recipe</h2><figure>{recipe_figure(tables)}</figure>{remarks}
<h2>Configuration</h2><pre>{html.escape(run_toml)}</pre>
</body></html>
"""


def _shareable(config: RunConfig) -> RunConfig:
    """The run without the folders of this machine: a report is made to be passed on."""

    def last(path: str | None) -> str | None:
        return None if path is None else Path(path).name

    model = config.model.model_copy(update={"path": last(config.model.path)})
    data = config.data.model_copy(update={"folder": last(config.data.folder)})
    return config.model_copy(update={"model": model, "data": data})


def _headline(config: RunConfig, records: list[dict[str, Any]]) -> str:
    train = config.train
    what = f"LoRA of rank {config.lora.rank}" if train.method == "lora" else "all weights"
    text = (
        f"{what}; {train.steps} steps of {train.batch_size * train.gradient_accumulation} images, seed {config.seed}, "
        f"{config.model.precision}"
    )
    seconds = [r["seconds"] for r in records if "seconds" in r]
    return text + (f"; median step {np.median(seconds):.3g} s." if seconds else ".")


def _band_table(records: list[dict[str, Any]]) -> str:
    tenth = max(1, len(records) // 10)
    rows = ""
    for band in BANDS:
        first, last = (_mean([r["bands"][band] for r in part]) for part in (records[:tenth], records[-tenth:]))
        rows += f"<tr><td>{html.escape(band)}</td><td>{first}</td><td>{last}</td></tr>"
    return (
        "<table><tr><th>unweighted training loss</th><th>first tenth of the steps</th><th>last tenth</th></tr>"
        f"{rows}</table>"
    )


def _mean(values: list[float | None]) -> str:
    found = [v for v in values if v is not None]
    return f"{np.mean(found):.4g}" if found else "-"


def _grids(folder: Path) -> dict[str, bytes]:
    files = sorted((folder / "samples").glob("step-*.png"))
    return {f"step {int(file.stem.removeprefix('step-'))}": file.read_bytes() for file in files}
