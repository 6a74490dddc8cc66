"""Figures of a run's report, as SVG text."""

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
    """Weight and effective emphasis over log-SNR, with the timestep as a second axis."""
    return _svg(_recipe(tables))


def recipe_picture(tables: Tables) -> bytes:
    """The same as a PNG, which every page shows."""
    content = io.BytesIO()
    with mpl.rc_context(LIGHT.rc()):
        _recipe(tables).savefig(content, format="png", dpi=110, metadata={"Software": None})
    return content.getvalue()


def _recipe(tables: Tables) -> Figure:
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
    """The unweighted training loss by SNR band over the steps, smoothed; at least one step is needed."""
    with mpl.rc_context(LIGHT.rc()):
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        axes = figure.subplots()
        window = max(1, len(records) // 20)
        for index, band in enumerate(BANDS):
            found = [(r["step"], r["bands"][band]) for r in records if r["bands"][band] is not None]
            if not found:
                continue
            at, value = (np.array(column, dtype=float) for column in zip(*found, strict=True))
            smooth = _running_mean(value, window)
            axes.plot(at, smooth, **LIGHT.line(index), label=band)
        axes.set(title="Unweighted loss by SNR band", xlabel="step", ylabel="mean squared error", yscale="log")
        axes.set_xlim(0, max(records[-1]["step"], 1))
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
        return _svg(figure)


def validation_figure(lines: Sequence[ValidationLine]) -> str:
    """Validation error by SNR band over the steps, as the change from the base in per cent, with intervals.

    Args:
        lines: of validation.jsonl, the first of the base; at least two.
    """
    base = {band: found["value"] for band, found in lines[0]["bands"].items()}
    with mpl.rc_context(LIGHT.rc()):
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        axes = figure.subplots()
        for index, band in enumerate(BANDS):
            if band not in base:
                continue
            at = [line["step"] for line in lines]
            changes = [change(line, lines[0])[band] for line in lines]
            value, low, high = 100 / base[band] * np.array([(e.value, e.low, e.high) for e in changes]).T
            axes.fill_between(at, low, high, color=LIGHT.line(index)["color"], alpha=0.15, linewidth=0)
            axes.plot(at, value, **LIGHT.line(index), label=band)
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set(title="Unweighted validation error against the base", xlabel="step", ylabel="change, %")
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
        return _svg(figure)


def _running_mean(value: Any, window: int) -> Any:
    kernel = np.ones(min(window, len(value)))
    return np.convolve(value, kernel, "same") / np.convolve(np.ones_like(value), kernel, "same")


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    with mpl.rc_context(LIGHT.rc()):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    found = text.getvalue()
    return found[found.index("<svg") :]
