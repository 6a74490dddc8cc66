"""A recipe's tables as text: for people, as CSV, as JSON."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from snrlab.core.recipe import Recipe, Tables
from snrlab.core.registries.registry import Choice
from snrlab.core.stages import Stage

SNR_MARKS = (5.0, 1.0, 0.1)
_HEADINGS = {
    "alphas_cumprod": "abar",
    "snr": "SNR",
    "log_snr": "log SNR",
    "p": "p(t)",
    "weight": "weight",
    "weight_epsilon": "on eps",
    "weight_x0": "on x0",
    "emphasis": "emphasis",
    "ip_gamma": "gamma",
    "ip_floor": "floor",
}
# what a narrow terminal loses first; CSV and JSON always have every column
_SPARE = ("alphas_cumprod", "weight_x0", "p", "emphasis", "log_snr", "ip_gamma")


def notable_steps(recipe: Recipe, tables: Tables) -> dict[int, str]:
    """The timesteps worth a row of their own, and why: crossings, limits, the last step."""
    found: dict[int, list[str]] = {}
    for mark in SNR_MARKS:
        step = tables.schedule.crossing(mark)
        if step is not None:
            found.setdefault(step - 1, [])
            found.setdefault(step, []).append(f"SNR < {mark:g}")
    for name, value, acts in (
        ("max_weight", recipe.max_weight, np.greater),
        ("min_weight", recipe.min_weight, np.less),
    ):
        for first, last in _runs(acts(tables.raw_weight, value)) if value is not None else ():
            found.setdefault(first, []).append(f"{name} from here")
            if last > first and last != tables.t[-1]:
                found.setdefault(last, []).append(f"{name} to here")
    found.setdefault(int(tables.t[-1]), []).append("last step")
    return {step: ", ".join(reasons) for step, reasons in sorted(found.items())}


def rows_to_json(rows: list[dict[str, Any]]) -> str:
    """A JSON list of objects, one a timestep."""
    return json.dumps(rows, allow_nan=False)


def rows_to_csv(rows: list[dict[str, Any]]) -> str:
    """CSV with a header; empty where a column has no finite value."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def to_rich(recipe: Recipe, tables: Tables, timesteps: list[int], console: Console) -> Table:
    """A table for the terminal: the asked-for timesteps and the notable ones, marked.

    In a terminal too narrow for every column the spare ones go, and the caption names them.
    """
    shown = [c for c in _HEADINGS if tables.ip_gamma.any() or not c.startswith("ip_")]
    hidden: list[str] = []
    while True:
        table = _table(recipe, tables, timesteps, shown)
        spare = next((c for c in _SPARE if c in shown), None)
        if (
            spare is None
            or Measurement.get(console, console.options.update(max_width=1000), table).maximum <= console.width
        ):
            break
        shown.remove(spare)
        hidden.append(_HEADINGS[spare])
    if hidden:
        table.caption = f"not shown for width: {', '.join(hidden)} (--format csv has every column)"
    return table


def _table(recipe: Recipe, tables: Tables, timesteps: list[int], columns: list[str]) -> Table:
    notes = notable_steps(recipe, tables)
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, caption_justify="left")
    for heading in ("t", *(_HEADINGS[c] for c in columns)):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in tables.rows(sorted({*timesteps, *notes})):
        note = notes.get(row["t"], "")
        cells = [_number(row[name]) for name in columns]
        table.add_row(str(row["t"]), *cells, note, style="bold" if note else None)
    return table


def describe(recipe: Recipe) -> str:
    """The recipe in one line.

    >>> describe(Recipe())
    'schedule sd, predicts epsilon, weighting none (plain loss), density uniform'
    """
    weights = " x ".join(_short(c) for c in recipe.weighting) or "none (plain loss)"
    if len(recipe.weighting) > 1:
        weights += f" (on {recipe.product_on})"
    parts = [
        f"schedule {_short(recipe.schedule)}" + (" with zero terminal SNR" if recipe.zero_terminal_snr else ""),
        f"predicts {recipe.prediction_type}",
        f"weighting {weights}",
        *(f"{n} {v:g}" for n, v in (("max", recipe.max_weight), ("min", recipe.min_weight)) if v is not None),
        *(["normalized"] if recipe.normalize else []),
        f"density {_short(recipe.density)}",
        *([f"sampling {_short(recipe.sampling)}"] if recipe.sampling.entry.properties.learns else []),
        *([f"perturbation {_short(recipe.perturbation)}"] if recipe.perturbation else []),
        *([f"noise {_short(recipe.noise)}"] if recipe.noise else []),
    ]
    return "; ".join([", ".join(parts), *(f"from step {s.from_step} {_changes(s)}" for s in recipe.stages)])


def _changes(stage: Stage) -> str:
    def shown(value: Any) -> str:
        if isinstance(value, tuple):
            return " x ".join(map(_short, value)) or "none (plain loss)"
        return _short(value) if isinstance(value, Choice) else str(value).lower()

    return ", ".join(f"{name} {shown(value)}" for name, value in stage.changes.items())


def _short(choice: Any) -> str:
    """The choice's spec without the parameters that have their default."""
    changed = {k: v for k, v in choice.params.items() if v != choice.entry.parameters[k].default}
    return choice.spec if changed else choice.name


def _runs(mask: np.ndarray[Any, Any]) -> list[tuple[int, int]]:
    """First and last index of each run of True."""
    steps = np.diff(np.r_[0, mask.astype(int), 0])
    return list(zip(np.flatnonzero(steps == 1).tolist(), (np.flatnonzero(steps == -1) - 1).tolist(), strict=True))


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.2e}"
