"""Figures of a run's report and model card."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from snrlab.core.bands import BANDS
from snrlab.core.recipe import Tables
from snrlab.lab.figures.panels import AXIS
from snrlab.lab.figures.plots import timestep_axis
from snrlab.lab.figures.theme import THEMES
from snrlab.lab.statistics import change
from snrlab.runs.logs import StepLine, ValidationLine

LIGHT = THEMES["light"]


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
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        finite = np.isfinite(tables.log_snr)
        log_snr = tables.log_snr[finite]
        left.plot(log_snr, tables.weight[finite], color=LIGHT.lines[0])
        left.set(title="Weight on the network's own loss", xlabel=AXIS, ylabel="weight (plain loss: 1)")
        left.set_ylim(bottom=0)
        density = tables.emphasis("v_prediction")[finite]
        right.fill_between(log_snr, density, color=LIGHT.lines[1], alpha=0.25)
        right.plot(log_snr, density, color=LIGHT.lines[1])
        right.set(title="Effective emphasis", xlabel=AXIS, ylabel="effort per unit ln SNR (area 1)")
        right.set_ylim(bottom=0)
        if not finite[-1]:
            share = tables.weight_share("v_prediction")[-1]
            right.annotate(f"step at SNR 0: {100 * share:.2g}%", (0.98, 0.95), xycoords="axes fraction", ha="right")
        for axes in (left, right):
            axes.set_xlim(log_snr.max(), log_snr.min())  # noise grows to the right, as t does
            timestep_axis(axes, tables, figure.get_figwidth() / 2)
        return figure


def loss_figure(records: Sequence[StepLine]) -> str:
    """Smoothed unweighted training loss by SNR band over the steps, as SVG; needs at least one step."""
    with mpl.rc_context(LIGHT.rc()):
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        axes = figure.subplots()
        window = max(1, len(records) // 20)
        for index, band in enumerate(BANDS):
            points = [(r["step"], r["bands"][band]) for r in records if r["bands"][band] is not None]
            if not points:
                continue
            steps, losses = (np.array(column, dtype=float) for column in zip(*points, strict=True))
            smooth = _running_mean(losses, window)
            axes.plot(steps, smooth, **LIGHT.line(index), label=band)
        axes.set(title="Unweighted loss by SNR band", xlabel="step", ylabel="mean squared error", yscale="log")
        axes.set_xlim(0, max(records[-1]["step"], 1))
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
        return _svg(figure)


def validation_figure(lines: Sequence[ValidationLine]) -> str:
    """Change of the validation error from the base model by SNR band, in per cent with intervals, as SVG.

    Args:
        lines: at least two lines of validation.jsonl, the first that of the base model.
    """
    base = {band: estimate["value"] for band, estimate in lines[0]["bands"].items()}
    with mpl.rc_context(LIGHT.rc()):
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        axes = figure.subplots()
        for index, band in enumerate(BANDS):
            if band not in base:
                continue
            steps = [line["step"] for line in lines]
            changes = [change(line, lines[0])[band] for line in lines]
            value, low, high = 100 / base[band] * np.array([(e.value, e.low, e.high) for e in changes]).T
            axes.fill_between(steps, low, high, color=LIGHT.line(index)["color"], alpha=0.15, linewidth=0)
            axes.plot(steps, value, **LIGHT.line(index), label=band)
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set(title="Unweighted validation error against the base", xlabel="step", ylabel="change, %")
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
        return _svg(figure)


def _running_mean(values: Any, window: int) -> Any:
    kernel = np.ones(min(window, len(values)))
    return np.convolve(values, kernel, "same") / np.convolve(np.ones_like(values), kernel, "same")


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    with mpl.rc_context(LIGHT.rc()):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]
