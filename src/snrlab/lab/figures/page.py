"""Graphs as one HTML file that opens offline: values under the pointer, zoom by dragging, light and dark."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from snrlab.core.recipe import Tables
from snrlab.lab.asset_files import read_asset
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


def page(recipes: Mapping[str, tuple[str, Tables]], panels: Sequence[str]) -> str:
    """The graphs of several recipes as an HTML page.

    Args:
        recipes: (description, tables) by label.
        panels: names from PANELS.
    """
    data = {
        "panels": [_panel_data(name, {label: tables for label, (_, tables) in recipes.items()}) for name in panels],
        "colors": {mode: theme.lines for mode, theme in THEMES.items()},
        "dashes": _DASHES,
    }
    described = "".join(
        f"<li><b>{html.escape(label)}</b>: {html.escape(text)}{_terminal_share_note(tables)}</li>"
        for label, (text, tables) in recipes.items()
    )
    sections = "".join(
        f'<section id="panel-{i}"><h2>{html.escape(PANELS[name].title)}</h2><label><input type="checkbox"'
        f'{" checked" if PANELS[name].log else ""}> logarithmic</label><div class="plot"></div></section>'
        for i, name in enumerate(panels)
    )
    content = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("</", "<\\/")
    style = read_asset("uPlot.min.css") + "\n" + read_asset("page.css")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>snrlab: {html.escape(", ".join(recipes))}</title><style>{style}</style></head><body>
<h1>{html.escape(" / ".join(recipes))}</h1><ul>{described}</ul>
<p>Drag over a graph to look closer, double-click to go back; click a name to hide its line.</p>
{sections}
<script type="application/json" id="data">{content}</script>
<script>{read_asset("uPlot.iife.min.js")}</script><script>{read_asset("page.js")}</script>
</body></html>
"""


def _panel_data(name: str, recipes: Mapping[str, Tables]) -> dict[str, Any]:
    """Data of one graph; recipes on different schedules share an axis that holds every noise level."""
    panel = PANELS[name]
    positions = {label: t.t.astype(float) if panel.over_time else t.log_snr for label, t in recipes.items()}
    axis = np.unique(np.concatenate([x[np.isfinite(x)] for x in positions.values()]))
    series = []
    for index, (label, tables) in enumerate(recipes.items()):
        x, y = positions[label], panel.curve(tables)
        is_finite = np.isfinite(x) & np.isfinite(y)
        order = np.argsort(x[is_finite])
        on_axis = np.interp(axis, x[is_finite][order], y[is_finite][order], left=np.nan, right=np.nan)
        series.append({"label": label, "color": index, "y": [_rounded(v) for v in on_axis]})
    return {
        "unit": panel.unit,
        "over_time": panel.over_time,
        "x": [float(f"{v:.6g}") for v in axis],
        "series": series,
    }


def _terminal_share_note(tables: Tables) -> str:
    if not tables.schedule.terminal_snr_is_zero:
        return ""
    share = 100 * tables.weight_share("v_prediction")[-1]
    return f". The step at SNR 0, which has no place on these axes, gets {share:.2g}%."


def _rounded(value: float) -> float | None:
    return float(f"{value:.6g}") if np.isfinite(value) else None
