"""Figures of a run's report and model card."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from snrlab.core.bands import BAND_WORDS, BANDS
from snrlab.core.recipe import Tables
from snrlab.lab.figures.line_chart import ChartLine, line_chart
from snrlab.lab.figures.noise_strip import STRIP_HEIGHT, draw_noise_strip
from snrlab.lab.figures.panels import AXIS
from snrlab.lab.figures.plots import timestep_axis
from snrlab.lab.figures.theme import THEMES
from snrlab.lab.statistics import Estimate, change
from snrlab.runs.logs import StepLine, ValidationLine

LIGHT = THEMES["light"]
_MOST_POINTS = 400  # of a line; more could not be told apart


def recipe_figure(tables: Tables) -> str:
    """Weight and effective emphasis over log-SNR, with the timestep as a second axis, as SVG."""
    return _svg(_draw_recipe(tables))


def recipe_png(tables: Tables) -> bytes:
    """The figure of `recipe_figure` as a PNG, which every model hub shows."""
    content = io.BytesIO()
    with mpl.rc_context(LIGHT.rc()):
        _draw_recipe(tables).savefig(content, format="png", dpi=110, metadata={"Software": None})
    return content.getvalue()


def _draw_recipe(tables: Tables) -> Figure:
    with mpl.rc_context(LIGHT.rc()):
        figure = Figure(figsize=(9, 3.4 + STRIP_HEIGHT), layout="constrained")
        left, right = figure.subplots(1, 2)
        plain, grey = tables.plain, LIGHT.reference_line()
        finite = np.isfinite(tables.log_snr)
        log_snr = tables.log_snr[finite]
        left.plot(log_snr, plain.weight[finite], **grey)
        left.plot(log_snr, tables.weight[finite], color=LIGHT.lines[0])
        left.set(title="Weight on the network's own loss", xlabel=AXIS, ylabel="weight (plain loss: 1)")
        left.set_ylim(bottom=0)
        density = tables.emphasis("v_prediction")[finite]
        right.fill_between(log_snr, density, color=LIGHT.lines[1], alpha=0.25)
        right.plot(log_snr, density, color=LIGHT.lines[1], label="this recipe")
        right.plot(log_snr, plain.emphasis("v_prediction")[finite], **grey, label="plain training")
        right.legend(frameon=False, fontsize=9)
        right.set(title="Where the training goes", xlabel=AXIS, ylabel="training per unit ln SNR (area 1)")
        right.set_ylim(bottom=0)
        if not finite[-1]:
            share = tables.weight_share("v_prediction")[-1]
            right.annotate(f"step at SNR 0: {100 * share:.2g}%", (0.98, 0.95), xycoords="axes fraction", ha="right")
        for axes in (left, right):
            axes.set_xlim(log_snr.max(), log_snr.min())  # noise grows to the right, as t does
            timestep_axis(axes, tables, figure.get_figwidth() / 2)
            draw_noise_strip(axes, figure.get_figwidth() / 2)
        figure.draw_without_rendering()  # the titles rise above the pictures, before room is made for them
        return figure


def loss_figure(records: Sequence[StepLine]) -> str:
    """Smoothed unweighted training loss by SNR band over the steps, as HTML; needs at least one step."""
    window = max(1, len(records) // 20)
    lines = []
    for index, band in enumerate(BANDS):
        points = [(r["step"], r["bands"][band]) for r in records if r["bands"][band]]  # a loss of 0 has no logarithm
        if points:
            steps, losses = (np.array(column, dtype=float) for column in zip(*points, strict=True))
            shown = np.unique(np.linspace(0, len(steps) - 1, _MOST_POINTS).round().astype(int))
            smooth = _running_mean(losses, window)
            lines.append(ChartLine(BAND_WORDS[band], index, list(steps[shown]), list(smooth[shown])))
    return line_chart(lines, x_label="step", y_label="mean squared error", log=True) if lines else ""


def validation_figure(lines: Sequence[ValidationLine]) -> str:
    """Change of the validation error from the first measurement by SNR band, in per cent with intervals, as HTML.

    Args:
        lines: at least two lines of validation.jsonl, the first that of the base model.
    """
    base = {band: estimate["value"] for band, estimate in lines[0]["bands"].items()}
    curves = []
    for index, band in enumerate(BANDS):
        if band in base:
            steps = [float(line["step"]) for line in lines[1:]]
            changes = [change_since_base(line, lines[0], band) for line in lines[1:]]
            value, low, high = (100 / base[band] * np.array([(e.value, e.low, e.high) for e in changes]).T).tolist()
            curves.append(ChartLine(BAND_WORDS[band], index, [0.0, *steps], [0.0, *value], [0.0, *low], [0.0, *high]))
    return line_chart(curves, x_label="step", y_label="change of the error, %")


def change_since_base(line: ValidationLine, base: ValidationLine, band: str) -> Estimate:
    """The change of a band's error since the base, as logged, or computed for the lines of older runs."""
    logged = line.get("against_base")
    return Estimate(**logged[band]) if logged is not None else change(line, base)[band]


def _running_mean(values: Any, window: int) -> Any:
    kernel = np.ones(min(window, len(values)))
    return np.convolve(values, kernel, "same") / np.convolve(np.ones_like(values), kernel, "same")


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    with mpl.rc_context(LIGHT.rc()):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]
