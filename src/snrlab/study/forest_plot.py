"""Forest plots: the effect of each arm in one metric with its interval; as a band, what other noise alone changes."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.figure import Figure

from snrlab.lab.figures.theme import THEMES
from snrlab.study.answer import Contrast

_LIGHT = THEMES["light"]


def forest_plot(contrasts: Sequence[Contrast], floor: Contrast | None) -> str:
    """The plot as SVG; contrasts without a result are left out, and those with a verdict are filled."""
    shown = [contrast for contrast in contrasts if contrast.result is not None]
    with mpl.rc_context({**_LIGHT.rc(), "svg.hashsalt": "snrlab"}):
        figure = Figure(figsize=(8, 0.9 + 0.42 * max(1, len(shown))), layout="constrained")
        axes = figure.subplots()
        if floor is not None and floor.result is not None:
            widest = max(abs(floor.result.low), abs(floor.result.high))
            axes.axvspan(-widest, widest, color=_LIGHT.reference, alpha=0.2, linewidth=0)
        axes.axvline(0, color=_LIGHT.reference, linewidth=1)
        for row, contrast in enumerate(reversed(shown)):
            assert contrast.result is not None
            color = _LIGHT.lines[0]
            axes.plot([contrast.result.low, contrast.result.high], [row, row], color=color, linewidth=2.2)
            face = color if contrast.word is not None else "white"
            axes.plot(contrast.result.effect, row, "o", markersize=8, markerfacecolor=face, markeredgecolor=color)
        axes.set_yticks(range(len(shown)), [contrast.arm for contrast in reversed(shown)])
        axes.set_ylim(-0.6, max(0.6, len(shown) - 0.4))
        axes.set_xlabel(f"change against {shown[0].against if shown else ''} in per cent (left: better)")
        content = io.BytesIO()
        figure.savefig(content, format="svg", metadata={"Date": None})
    text = content.getvalue().decode()
    return text[text.index("<svg") :]
