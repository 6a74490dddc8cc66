"""Registry of graphs of a recipe: each panel maps tables to a curve over log-SNR or timesteps.

A curve has a value for every timestep, nan where it is undefined. Panels know nothing of colours or files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from snrlab.core.arrays import Array
from snrlab.core.recipe import Tables

AXIS = "ln SNR (clean pictures left, noise right)"


@dataclass(frozen=True)
class Panel:
    """One graph.

    Attributes:
        title: title of the graph.
        unit: label of the vertical axis.
        curve: function from tables to values [T].
        log: whether the vertical axis is logarithmic.
        bar: share of the timestep at SNR = 0, which has no place on a log-SNR axis; None if it has no meaning.
        over_time: whether the horizontal axis is the timestep instead of log-SNR.
    """

    title: str
    unit: str
    curve: Callable[[Tables], Array]
    log: bool = False
    bar: Callable[[Tables], float] | None = None
    over_time: bool = False


def _terminal_share(tables: Tables) -> float:
    return float(tables.weight_share("v_prediction")[-1]) if tables.schedule.terminal_snr_is_zero else 0.0


def _snr(tables: Tables) -> Array:
    return np.where(tables.snr > 0, tables.snr, np.nan)


PANELS: Mapping[str, Panel] = {
    "snr": Panel("Signal-to-noise ratio of the schedule", "SNR (ratio of powers)", _snr, log=True, over_time=True),
    "density": Panel(
        "How often each timestep is picked", "p(t) x T (1 is uniform)", lambda t: t.p * len(t.p), over_time=True
    ),
    "weight": Panel("Weight on the network's own loss", "weight (plain loss: 1)", lambda t: t.weight),
    "weight_epsilon": Panel("The same weight, on the epsilon loss", "weight on epsilon", lambda t: t.weight_epsilon),
    "emphasis": Panel(
        "Where the training goes (effective emphasis)",
        "training per unit ln SNR (area 1)",
        lambda t: t.emphasis("v_prediction"),
        bar=_terminal_share,
    ),
    "perturbation": Panel(
        "Input perturbation: loss that no training removes", "floor (mean squared error)", lambda t: t.ip_floor
    ),
}
DEFAULT = ("snr", "weight", "emphasis")
