"""Graphs as one HTML file that opens offline: values under the pointer, zoom by dragging, light and dark."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from snrlab.core.arrays import Array
from snrlab.core.recipe import Tables
from snrlab.lab.asset_files import read_asset
from snrlab.lab.figures.panels import PANELS, Panel
from snrlab.lab.figures.reference import with_plain
from snrlab.lab.figures.sliders import Slider
from snrlab.lab.figures.theme import THEMES

_DASHES: tuple[list[int], ...] = (
    [],
    [12, 4],
    [2, 3],
    [12, 4, 2, 4],
    [20, 6],
    [6, 2, 2, 2, 2, 2],
)  # as theme.DASHES, in pixels


def page(recipes: Mapping[str, tuple[str, Tables]], panels: Sequence[str], moved: Iterable[Slider] = ()) -> str:
    """The graphs of several recipes as an HTML page.

    Args:
        recipes: (description, tables) by label.
        panels: names from PANELS.
        moved: sliders for parameters of these recipes.
    """
    shown, reference = with_plain({label: tables for label, (_, tables) in recipes.items()})
    data = {
        "panels": [_panel_data(name, shown, reference) for name in panels],
        "sliders": [_slider_data(slider, panels, shown) for slider in moved],
        "colors": {mode: theme.lines for mode, theme in THEMES.items()},
        "reference": THEMES["light"].reference,
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
<div id="sliders"></div>
<p>Drag over a graph to look closer, double-click to go back; click a name to hide its line.</p>
{sections}
<script type="application/json" id="data">{content}</script>
<script>{read_asset("uPlot.iife.min.js")}</script><script>{read_asset("page.js")}</script>
</body></html>
"""


def _panel_data(name: str, recipes: Mapping[str, Tables], reference: str) -> dict[str, Any]:
    """Data of one graph; recipes on different schedules share an axis that holds every noise level.

    The reference has no colour of its own (-1).
    """
    panel, axis = PANELS[name], _axis(name, recipes)
    series = []
    colored = [label for label in recipes if label != reference]
    for label, tables in recipes.items():
        color = -1 if label == reference else colored.index(label)
        series.append({"label": label, "color": color, "y": _on_axis(axis, panel, tables)})
    return {
        "unit": panel.unit,
        "over_time": panel.over_time,
        "x": [float(f"{v:.6g}") for v in axis],
        "series": series,
    }


def _axis(name: str, recipes: Mapping[str, Tables]) -> Array:
    """The positions of a graph: every timestep, or every noise level, of any of the recipes."""
    positions = [t.t.astype(float) if PANELS[name].over_time else t.log_snr for t in recipes.values()]
    axis: Array = np.unique(np.concatenate([x[np.isfinite(x)] for x in positions]))
    return axis


def _on_axis(axis: Array, panel: Panel, tables: Tables) -> list[float | None]:
    """The curve of a recipe at the positions of an axis; None beyond its ends."""
    x, y = tables.t.astype(float) if panel.over_time else tables.log_snr, panel.curve(tables)
    is_finite = np.isfinite(x) & np.isfinite(y)
    order = np.argsort(x[is_finite])
    on_axis = np.interp(axis, x[is_finite][order], y[is_finite][order], left=np.nan, right=np.nan)
    return [_rounded(value) for value in on_axis]


def _slider_data(slider: Slider, panels: Sequence[str], recipes: Mapping[str, Tables]) -> dict[str, Any]:
    """Data of a slider: for each graph the curve at each value, or None where the parameter does not matter."""
    curves = [
        [_on_axis(_axis(name, recipes), PANELS[name], tables) for tables in slider.tables]
        if slider.moves(name)
        else None
        for name in panels
    ]
    return {
        "recipe": slider.recipe,
        "parameter": slider.parameter,
        "values": slider.values,
        "start": slider.start,
        "curves": curves,
    }


def _terminal_share_note(tables: Tables) -> str:
    if not tables.schedule.terminal_snr_is_zero:
        return ""
    share = 100 * tables.weight_share("v_prediction")[-1]
    return f". The step at SNR 0, which has no place on these axes, gets {share:.2g}%."


def _rounded(value: float) -> float | None:
    return float(f"{value:.6g}") if np.isfinite(value) else None
