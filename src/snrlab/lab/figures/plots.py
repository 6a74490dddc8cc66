"""Graphs of one or several recipes, overlaid and labelled at their lines."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, NullLocator

from snrlab.core.arrays import Array
from snrlab.core.recipe import Tables
from snrlab.lab.figures.noise_strip import STRIP_HEIGHT, draw_noise_strip
from snrlab.lab.figures.panels import AXIS, PANELS, Panel
from snrlab.lab.figures.reference import with_plain
from snrlab.lab.figures.theme import THEMES, Mode, Theme

Format = Literal["png", "svg"]
_WIDTH, HEIGHT = 8.0, 3.4  # inches of a panel; in a narrower figure words look larger where it is shown
DPI = 150
PANEL_PAD = 0.1  # above and below a panel of several, inches
NOISIEST = -12.0  # lowest log-SNR that is drawn, for schedules that go down to no signal
TICK_GAP = 0.72  # smallest distance between two timestep labels, inches
COINCIDE = 0.004  # relative difference of curves that look like one line
LABEL_GAP = 0.085  # height of a line of a label, as a fraction of the panel


def draw_figure(
    recipes: Mapping[str, Tables],
    panels: Sequence[str],
    *,
    mode: Mode = "light",
    log_weight: bool = False,
    ceiling: float | None = None,
    width: float = _WIDTH,
) -> Figure:
    """Draw a figure with the panels one below the other; a recipe has the same colour and dashes in each.

    Plain training is the reference, in grey. One picture at several noise levels stands above the first log-SNR axis.

    Args:
        recipes: tables by label.
        panels: names from PANELS.
        mode: light or dark.
        log_weight: draw weights on a logarithmic axis.
        ceiling: cut the SNR graph at this value on a linear axis, as articles do.
        width: width of the figure in inches.
    """
    theme = THEMES[mode]
    with mpl.rc_context(theme.rc()):
        layout = ConstrainedLayoutEngine(h_pad=PANEL_PAD if len(panels) > 1 else None)
        with_strip = next((name for name in panels if not PANELS[name].over_time), None)
        height = HEIGHT * len(panels) + (STRIP_HEIGHT if with_strip else 0)
        figure = Figure(figsize=(width, height), layout=layout)
        shown, reference = with_plain(recipes)
        grid = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
        for axes, name in zip(grid, panels, strict=True):
            panel = PANELS[name]
            log = panel.log or (log_weight and name.startswith("weight"))
            upper_limit = ceiling if name == "snr" else None
            curves = _distinct_curves(shown, reference, panel, theme)
            for curve in curves:
                _draw_line(axes, panel, curve.tables, curve.style)
            _set_axes(axes, panel, list(recipes.values()), log=log and upper_limit is None)
            if upper_limit is not None:
                axes.set_ylim(0, upper_limit)
            _draw_labels(axes, curves, panel)
            if panel.bar is not None:
                _draw_terminal_bars(axes, [panel.bar(c.tables) for c in curves], [c.style["color"] for c in curves])
            if name == with_strip:
                draw_noise_strip(axes, width)
        if with_strip:
            figure.draw_without_rendering()  # its title rises above the pictures, before room is made for it
        return figure


def figure_bytes(figure: Figure, format: Format) -> bytes:
    """The figure as the content of a PNG or SVG file, without dates."""
    with mpl.rc_context({"svg.hashsalt": "snrlab", "svg.fonttype": "path"}):
        data = io.BytesIO()
        metadata = {"Date": None, "Creator": None} if format == "svg" else {"Software": None}
        figure.savefig(data, format=format, dpi=DPI, metadata=metadata)
        return data.getvalue()


@dataclass(frozen=True, eq=False)
class _Curve:
    """A line to draw, with the labels of all recipes that it stands for, one below the other."""

    label: str
    tables: Tables
    style: dict[str, Any]


def _distinct_curves(shown: Mapping[str, Tables], reference: str, panel: Panel, theme: Theme) -> list[_Curve]:
    """The curves to draw; those that nobody could tell apart share a line and a label."""
    groups: list[list[str]] = []
    for label, tables in shown.items():
        curve = panel.curve(tables)
        group = next((g for g in groups if _look_alike(curve, panel.curve(shown[g[0]]))), None)
        if group is None:
            groups.append([label])
        else:
            group.append(label)
    colored = [label for label in shown if label != reference]
    curves = []
    for labels in groups:
        first = next((label for label in labels if label != reference), reference)
        style = theme.reference_line() if first == reference else theme.line(colored.index(first))
        all_alike = len(groups) == 1 and len(shown) > 1
        curves.append(_Curve(f"{first}\nthe same for all" if all_alike else "\n".join(labels), shown[first], style))
    return curves


def _look_alike(one: Array, other: Array) -> bool:
    return one.shape == other.shape and np.allclose(one, other, rtol=COINCIDE, equal_nan=True)


def _draw_line(axes: Any, panel: Panel, tables: Tables, style: dict[str, Any]) -> None:
    x = tables.t if panel.over_time else tables.log_snr
    curve = panel.curve(tables)
    visible = np.isfinite(x) & np.isfinite(curve) & (panel.over_time | (x >= NOISIEST))
    axes.plot(x[visible], curve[visible], **style)


def _draw_terminal_bars(axes: Any, shares: Sequence[float], colors: Sequence[str]) -> None:
    """Draw the shares of the timestep without signal as inset bars, since the log-SNR axis has no place for it."""
    if not any(shares):
        return
    width = max(0.18, 0.1 * len(shares))
    frame = axes.inset_axes((0.98 - width, 0.42, width, 0.42))
    places = np.arange(len(shares))
    frame.bar(places, [100 * share for share in shares], color=list(colors), width=0.7)
    for place, share, color in zip(places, shares, colors, strict=True):
        frame.text(
            place,
            100 * share,
            f"{100 * share:.2g}%" if share else "0",
            ha="center",
            va="bottom",
            fontsize=9,
            color=color,
        )
    frame.set_title("step at SNR 0", fontsize=9, weight="normal")
    frame.set_ylim(0, 130 * max(shares))
    frame.set(xticks=[], yticks=[])
    frame.grid(visible=False)
    frame.spines["left"].set_visible(False)


def _set_axes(axes: Any, panel: Panel, tables: Sequence[Tables], *, log: bool) -> None:
    axes.set_title(panel.title)
    axes.set_ylabel("\n".join(_wrap(panel.unit)))
    axes.set_yscale("log" if log else "linear")
    if not log:
        axes.set_ylim(bottom=0)
    first = tables[0]
    if panel.over_time:
        axes.set_xlabel("timestep t (0 is the cleanest)")
        axes.set_xlim(0, first.t[-1])
        return
    finite = np.concatenate([t.log_snr[np.isfinite(t.log_snr)] for t in tables])
    axes.set_xlabel(AXIS)
    axes.set_xlim(finite.max(), max(finite.min(), NOISIEST))
    if all(np.array_equal(t.log_snr, first.log_snr) for t in tables):
        timestep_axis(axes, first, axes.figure.get_figwidth())


def timestep_axis(axes: Any, tables: Tables, inches: float) -> None:
    """Add the timestep as a second axis above that of log-SNR, labelled at timesteps that are far enough apart.

    Args:
        axes: axes with their horizontal limits set, the cleanest level on the left.
        tables: tables on the one schedule that is drawn.
        inches: width of the graph.
    """
    finite = np.flatnonzero(np.isfinite(tables.log_snr))
    total = len(tables.t)
    marks = [t for t in (0, total // 20, total // 5, total * 2 // 5, total * 7 // 10, total - 1) if t in finite]
    cleanest, noisiest = axes.get_xlim()
    apart = TICK_GAP / inches * (cleanest - noisiest)
    marks = [t for t in marks if tables.log_snr[t] >= noisiest]
    for mark in marks[1:]:
        before = marks[marks.index(mark) - 1]
        if tables.log_snr[before] - tables.log_snr[mark] < apart:
            marks.remove(mark)
    top = axes.secondary_xaxis("top")
    top.xaxis.set_major_locator(FixedLocator([float(tables.log_snr[t]) for t in marks]))
    top.xaxis.set_minor_locator(NullLocator())
    top.set_xticklabels([f"t={t}" for t in marks], fontsize=9)


def _draw_labels(axes: Any, curves: Sequence[_Curve], panel: Panel) -> None:
    """Write each curve's label at its right end, tied to it by a line, and spread labels that would overlap."""
    to_axes = axes.transAxes.inverted()
    ends = []
    for line in curves:
        x = line.tables.t if panel.over_time else line.tables.log_snr
        curve = panel.curve(line.tables)
        low, high = sorted(axes.get_xlim())
        visible = np.flatnonzero(np.isfinite(x) & np.isfinite(curve) & (x >= low) & (x <= high))
        ends.append(to_axes.transform(axes.transData.transform((x[visible[-1]], curve[visible[-1]]))))
    heights = [LABEL_GAP * (1 + line.label.count("\n")) for line in curves]
    places = _spread_apart([float(y) for _, y in ends], heights)
    for line, (x, y), place in zip(curves, ends, places, strict=True):
        color = line.style["color"]
        axes.annotate(
            line.label, xy=(x, min(max(y, 0), 1)), xytext=(1.03, place), xycoords="axes fraction", color=color,
            va="center", fontsize=10, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": color, "lw": 0.8, "shrinkA": 1, "shrinkB": 0,
                        "relpos": (0, 0.5)},  # from the word's left edge, so that no line runs through another word
        )  # fmt: skip


def _spread_apart(wanted: Sequence[float], heights: Sequence[float]) -> list[float]:
    """Vertical positions near the wanted ones, below 1 and at least a label's height apart.

    >>> [round(p, 3) for p in _spread_apart([0.5, 0.5], [0.1, 0.1])]
    [0.45, 0.55]
    """
    order = np.argsort(wanted, kind="stable")
    places = np.array(wanted, dtype=float).clip(0, 1)
    for _ in range(200):
        moved = False
        for a, b in pairwise(order):
            lack = (heights[a] + heights[b]) / 2 - (places[b] - places[a])
            if lack > 1e-6:
                places[a] -= lack / 2
                places[b] += lack / 2
                moved = True
        if not moved:
            break
    ceiling = 1.0  # the timestep axis is above it
    for place in order[::-1]:
        places[place] = min(places[place], ceiling - heights[place] / 2)
        ceiling = places[place] - heights[place] / 2
    return [float(p) for p in places]


def _wrap(text: str) -> list[str]:
    words, lines = text.split(), [""]
    for word in words:
        lines = [*lines, word] if len(lines[-1]) + len(word) > 22 else [*lines[:-1], f"{lines[-1]} {word}".strip()]
    return lines
