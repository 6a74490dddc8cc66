"""Graphs as one HTML file that opens offline: values under the pointer, zoom by dragging, light and dark."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import numpy as np

from snrlab.core.recipe import Tables
from snrlab.lab.figures.panels import PANELS
from snrlab.lab.figures.theme import THEMES

_DASHES: tuple[list[int], ...] = (
    [],
    [12, 4],
    [2, 3],
    [12, 4, 2, 4],
    [20, 6],
    [6, 2, 2, 2, 2, 2],
)  # as theme.DASHES, in pixels
_CSS = """
:root { color-scheme: light dark; --ink: #1b1b1f; --paper: #ffffff; --line: #d4d6df; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececf1; --paper: #17181c; --line: #3a3d47; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem;
       margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .3rem; }
label { font-size: .9rem; } .u-legend { text-align: left; font-size: .9rem; } li { margin: .2rem 0; }
"""


def page(recipes: Mapping[str, tuple[str, Tables]], panels: Sequence[str]) -> str:
    """The page.

    Args:
        recipes: (description, tables) by label.
        panels: names from PANELS.
    """
    data = {
        "panels": [_panel(name, {label: tables for label, (_, tables) in recipes.items()}) for name in panels],
        "colors": {mode: theme.lines for mode, theme in THEMES.items()},
        "dashes": _DASHES,
    }
    described = "".join(
        f"<li><b>{html.escape(label)}</b>: {html.escape(text)}{_terminal(tables)}</li>"
        for label, (text, tables) in recipes.items()
    )
    sections = "".join(
        f'<section id="panel-{i}"><h2>{html.escape(PANELS[name].title)}</h2><label><input type="checkbox"'
        f'{" checked" if PANELS[name].log else ""}> logarithmic</label><div class="plot"></div></section>'
        for i, name in enumerate(panels)
    )
    content = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("</", "<\\/")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>snrlab: {html.escape(", ".join(recipes))}</title><style>{_asset("uPlot.min.css")}{_CSS}</style></head><body>
<h1>{html.escape(" / ".join(recipes))}</h1><ul>{described}</ul>
<p>Drag over a graph to look closer, double-click to go back; click a name to hide its line.</p>
{sections}
<script type="application/json" id="data">{content}</script>
<script>{_asset("uPlot.iife.min.js")}</script><script>{_asset("page.js")}</script>
</body></html>
"""


def _panel(name: str, recipes: Mapping[str, Tables]) -> dict[str, Any]:
    """One graph's data; recipes with other schedules share an axis that holds every noise level."""
    panel = PANELS[name]
    places = {label: t.t.astype(float) if panel.over_time else t.log_snr for label, t in recipes.items()}
    axis = np.unique(np.concatenate([x[np.isfinite(x)] for x in places.values()]))
    series = []
    for index, (label, tables) in enumerate(recipes.items()):
        x, y = places[label], panel.curve(tables)
        seen = np.isfinite(x) & np.isfinite(y)
        order = np.argsort(x[seen])
        whole = np.interp(axis, x[seen][order], y[seen][order], left=np.nan, right=np.nan)
        series.append({"label": label, "color": index, "y": [_number(v) for v in whole]})
    return {
        "unit": panel.unit,
        "over_time": panel.over_time,
        "x": [float(f"{v:.6g}") for v in axis],
        "series": series,
    }


def _terminal(tables: Tables) -> str:
    if not tables.schedule.terminal_snr_is_zero:
        return ""
    share = 100 * tables.weight_share("v_prediction")[-1]
    return f". The step at SNR 0, which has no place on these axes, gets {share:.2g}%."


def _number(value: float) -> float | None:
    return float(f"{value:.6g}") if np.isfinite(value) else None


def _asset(name: str) -> str:
    return resources.files("snrlab.lab").joinpath("assets", name).read_text(encoding="utf-8")
