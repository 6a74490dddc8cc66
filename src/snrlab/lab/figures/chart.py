"""A recipe's effective emphasis as a chart of characters, for a terminal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from snrlab.core.recipe import Recipe, Tables

_BLOCKS = " ▁▂▃▄▅▆▇█"
ASCII = " ..:::###"
COMPARED = "with equal weights on the network's own loss"


def emphasis_chart(recipe: Recipe, width: int = 60, height: int = 7, *, unicode: bool = True) -> str:
    """Effective emphasis over log-SNR in v space, clean pictures to the left, pure noise to the right.

    Bars are the recipe; `o` marks the same schedule and density with equal weights, where that differs.

    Args:
        recipe: any recipe without errors.
        width: width of the plot in characters, without its axis.
        height: height of the plot in lines, without its axis.
        unicode: False draws with ASCII, for terminals that cannot show block characters.
    """
    tables = recipe.tables()
    plain = Recipe(
        schedule=recipe.schedule,
        zero_terminal_snr=recipe.zero_terminal_snr,
        prediction_type=recipe.prediction_type,
        density=recipe.density,
    ).tables()
    log_snr = np.linspace(*_log_snr_range(tables), width)
    curve, reference = (_emphasis_at(t, log_snr) for t in (tables, plain))
    differs = not np.allclose(curve, reference, rtol=1e-3)
    top = max(curve.max(), reference.max() if differs else 0.0)
    blocks = _BLOCKS if unicode else ASCII
    lines = []
    for row in range(height, 0, -1):
        filled = np.clip(curve / top * height - (row - 1), 0, 1)
        cells = [blocks[round(f * (len(blocks) - 1))] for f in filled]
        if differs:
            for column in np.flatnonzero(np.maximum(np.ceil(reference / top * height), 1) == row):
                cells[column] = "o"
        lines.append("  |" + "".join(cells).rstrip())
    lines += ["  +" + "-" * width, _axis(tables, log_snr)]
    lines.append("  log SNR below, timestep t in brackets; bars: the recipe" + (f"; o: {COMPARED}" if differs else ""))
    return "\n".join(lines)


def _log_snr_range(tables: Tables) -> tuple[float, float]:
    finite = tables.log_snr[np.isfinite(tables.log_snr)]
    return float(finite.max()), float(finite.min())


def _emphasis_at(tables: Tables, log_snr: NDArray[np.float64]) -> NDArray[np.float64]:
    finite = np.isfinite(tables.log_snr)
    order = np.argsort(tables.log_snr[finite])
    density = tables.emphasis("v_prediction")[finite]
    return np.interp(log_snr, tables.log_snr[finite][order], density[order])


def _axis(tables: Tables, log_snr: NDArray[np.float64]) -> str:
    """Labels below the axis, each starting under its position."""
    finite = np.flatnonzero(np.isfinite(tables.log_snr))
    text = "   "
    for share in (0.0, 0.3, 0.55, 0.8):
        column = round(share * (len(log_snr) - 1))
        step = finite[np.argmin(np.abs(tables.log_snr[finite] - log_snr[column]))]
        text = text.ljust(3 + column) + f"{log_snr[column]:.1f} ({step})"
    return text
