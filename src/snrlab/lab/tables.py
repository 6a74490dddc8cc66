"""A recipe's tables as text: for the terminal, as CSV and as JSON."""

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
from snrlab.lab.verdict.verdict import percent

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
_BRIEF = {"snr": "SNR", "weight": "weight", "share": "share of training"}  # by default, beside plain training
_BRIEF_STEPS = 100  # rows by default are that far apart
# the columns that a narrow terminal loses first; CSV and JSON always have every column
_SPARE = ("alphas_cumprod", "weight_x0", "p", "emphasis", "log_snr", "ip_gamma")


def notable_timesteps(recipe: Recipe, tables: Tables) -> dict[int, str]:
    """The timesteps that always get a row, with the reason: SNR crossings, limits of the weight, the last one."""
    reasons_by_step: dict[int, list[str]] = {}
    for mark in SNR_MARKS:
        step = tables.schedule.crossing(mark)
        if step is not None:
            reasons_by_step.setdefault(step - 1, [])
            reasons_by_step.setdefault(step, []).append(f"SNR < {mark:g}")
    for name, value, acts in (
        ("max_weight", recipe.max_weight, np.greater),
        ("min_weight", recipe.min_weight, np.less),
    ):
        for first, last in _index_ranges(acts(tables.raw_weight, value)) if value is not None else ():
            reasons_by_step.setdefault(first, []).append(f"{name} from here")
            if last > first and last != tables.t[-1]:
                reasons_by_step.setdefault(last, []).append(f"{name} to here")
    reasons_by_step.setdefault(int(tables.t[-1]), []).append("last step")
    return {step: ", ".join(reasons) for step, reasons in sorted(reasons_by_step.items())}


def rows_to_json(rows: list[dict[str, Any]]) -> str:
    """A JSON list of objects, one for each timestep."""
    return json.dumps(rows, allow_nan=False)


def rows_to_csv(rows: list[dict[str, Any]]) -> str:
    """CSV with a header; a cell without a finite value is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def brief_timesteps(total: int) -> list[int]:
    """The timesteps that are shown where none are asked for: eleven of a thousand."""
    return list(range(0, total, max(1, _BRIEF_STEPS * total // 1000)))


def to_brief_rich(recipe: Recipe, tables: Tables) -> Table:
    """A table for the terminal with the columns that matter: noise level, weight, share of training, plain training.

    The share of a row is that of all timesteps from it up to the next row.
    """
    notes = {t: note for t, note in notable_timesteps(recipe, tables).items() if note}
    steps = sorted({*brief_timesteps(len(tables.t)), *notes})
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, caption_justify="left")
    for heading in ("t", *_BRIEF.values()):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("plain", justify="right", no_wrap=True, style="bright_black")
    table.add_column("", no_wrap=True)
    shares, plain = (np.add.reduceat(t.weight_share(), steps) for t in (tables, tables.plain))
    for t, share, reference in zip(steps, shares, plain, strict=True):
        cells = [
            _readable(float(tables.snr[t])),
            _readable(float(tables.weight[t])),
            percent(share),
            percent(reference),
        ]
        table.add_row(str(t), *cells, notes.get(t, ""), style="bold" if t in notes else None)
    table.caption = "Shares are from a row up to the next. --details has every column."
    return table


def _readable(value: float) -> str:
    """A number with three digits at most, and no exponent.

    >>> _readable(1175.47), _readable(0.00468), _readable(14.61), _readable(0.0)
    ('1175', '0.0047', '14.6', '0')
    """
    if not np.isfinite(value):
        return "-"
    digits = 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 4
    text = f"{value:.{digits}f}" if abs(value) < 100 else f"{value:.0f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def to_rich(recipe: Recipe, tables: Tables, timesteps: list[int], console: Console) -> Table:
    """A table for the terminal with the given timesteps and the notable ones, which are marked.

    If the terminal is too narrow for every column, the spare ones are dropped and the caption names them.
    """
    columns = [c for c in _HEADINGS if tables.ip_gamma.any() or not c.startswith("ip_")]
    hidden: list[str] = []
    while True:
        table = _table(recipe, tables, timesteps, columns)
        spare = next((c for c in _SPARE if c in columns), None)
        if (
            spare is None
            or Measurement.get(console, console.options.update(max_width=1000), table).maximum <= console.width
        ):
            break
        columns.remove(spare)
        hidden.append(_HEADINGS[spare])
    if hidden:
        table.caption = f"not shown for width: {', '.join(hidden)} (--format csv has every column)"
    return table


def _table(recipe: Recipe, tables: Tables, timesteps: list[int], columns: list[str]) -> Table:
    notes = notable_timesteps(recipe, tables)
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
    weights = " x ".join(_short_spec(c) for c in recipe.weighting) or "none (plain loss)"
    if len(recipe.weighting) > 1:
        weights += f" (on {recipe.product_on})"
    parts = [
        f"schedule {_short_spec(recipe.schedule)}" + (" with zero terminal SNR" if recipe.zero_terminal_snr else ""),
        f"predicts {recipe.prediction_type}",
        f"weighting {weights}",
        *(f"{n} {v:g}" for n, v in (("max", recipe.max_weight), ("min", recipe.min_weight)) if v is not None),
        *(["normalized"] if recipe.normalize else []),
        f"density {_short_spec(recipe.density)}",
        *([f"sampling {_short_spec(recipe.sampling)}"] if recipe.sampling.entry.properties.learns else []),
        *([f"perturbation {_short_spec(recipe.perturbation)}"] if recipe.perturbation else []),
        *([f"noise {_short_spec(recipe.noise)}"] if recipe.noise else []),
    ]
    return "; ".join([", ".join(parts), *(f"from step {s.from_step} {_changes(s)}" for s in recipe.stages)])


def _changes(stage: Stage) -> str:
    def value_text(value: Any) -> str:
        if isinstance(value, tuple):
            return " x ".join(map(_short_spec, value)) or "none (plain loss)"
        return _short_spec(value) if isinstance(value, Choice) else str(value).lower()

    return ", ".join(f"{name} {value_text(value)}" for name, value in stage.changes.items())


def _short_spec(choice: Any) -> str:
    """The choice's spec, or its name alone if every parameter has its default."""
    changed = {k: v for k, v in choice.params.items() if v != choice.entry.parameters[k].default}
    return choice.spec if changed else choice.name


def _index_ranges(mask: np.ndarray[Any, Any]) -> list[tuple[int, int]]:
    """First and last index of each run of True."""
    steps = np.diff(np.r_[0, mask.astype(int), 0])
    return list(zip(np.flatnonzero(steps == 1).tolist(), (np.flatnonzero(steps == -1) - 1).tolist(), strict=True))


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.2e}"
