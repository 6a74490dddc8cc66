"""How far apart two recipes put their effort: distances between distributions over log-SNR.

Each timestep's share is spread evenly over its cell of the log-SNR axis (edges halfway between steps), so recipes on
different schedules compare too. A step without signal has no place on the axis; its share is told beside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snrlab.core.arrays import Array
from snrlab.core.recipe import Tables

SPACE = "v_prediction"  # finite at both ends of the axis, so every prediction type can be told in it
_WIDTH = 0.02  # of the axis' cells, in nats


@dataclass(frozen=True, eq=False)
class Law:
    """A distribution of effort.

    Attributes:
        edges: of the cells, rising log-SNR [C + 1].
        cumulative: share of the effort at or below each edge, beginning with that without signal [C + 1].
    """

    edges: Array
    cumulative: Array

    @property
    def without_signal(self) -> float:
        """Share of a step at SNR = 0."""
        return float(self.cumulative[0])

    @property
    def mean(self) -> float:
        """Mean log-SNR of the effort at steps that have a signal."""
        middles, mass = (self.edges[:-1] + self.edges[1:]) / 2, np.diff(self.cumulative)
        return float(np.sum(middles * mass) / mass.sum())

    def at(self, points: Array) -> Array:
        """The cumulative share at other points of the axis."""
        return np.interp(points, self.edges, self.cumulative)


def law(log_snr: Array, share: Array) -> Law:
    """From the shares of timesteps [T], cleanest first, with sum 1.

    >>> found = law(np.array([1.0, -1.0, -np.inf]), np.array([0.5, 0.25, 0.25]))
    >>> found.edges, found.cumulative
    (array([-2.,  0.,  2.]), array([0.25, 0.5 , 1.  ]))
    """
    finite = np.isfinite(log_snr)
    x, mass = log_snr[finite][::-1], share[finite][::-1]
    inner = (x[:-1] + x[1:]) / 2
    edges = np.concatenate(([2 * x[0] - inner[0]], inner, [2 * x[-1] - inner[-1]]))
    return Law(edges, np.cumsum(np.concatenate(([share[~finite].sum()], mass))))


def emphasis_law(tables: Tables) -> Law:
    """Of a recipe's effective emphasis, in v space."""
    return law(tables.log_snr, tables.weight_share(SPACE))


def total_variation(one: Law, other: Law) -> float:
    """The part of the effort that has to move to turn one distribution into the other, 0 to 1."""
    points = _points(one, other)
    moved = np.abs(np.diff(one.at(points)) - np.diff(other.at(points))).sum()
    return float((moved + abs(one.without_signal - other.without_signal)) / 2)


def wasserstein(one: Law, other: Law) -> float:
    """How far effort has to move on average, in nats of log-SNR, least possible; steps without signal left out."""
    points = _points(one, other)
    above = [(f.at(points) - f.without_signal) / (1 - f.without_signal) for f in (one, other)]
    return float(np.trapezoid(np.abs(above[0] - above[1]), points))


def _points(one: Law, other: Law) -> Array:
    low, high = min(one.edges[0], other.edges[0]), max(one.edges[-1], other.edges[-1])
    return np.linspace(low, high, int((high - low) / _WIDTH) + 2)
