"""Distances between distributions of training effort over log-SNR.

Each timestep's share is spread evenly over its cell of the log-SNR axis (edges halfway between timesteps), so recipes
on different schedules can be compared too. A timestep without signal has no place on the axis; its share is kept
apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snrlab.core.arrays import Array
from snrlab.core.recipe import Tables

SPACE = "v_prediction"  # finite at both ends of the axis, so every prediction type can be expressed in it
_WIDTH = 0.02  # of a cell of the axis, in nats


@dataclass(frozen=True, eq=False)
class Law:
    """A distribution of effort over log-SNR.

    Attributes:
        edges: edges of the cells, in rising log-SNR [C + 1].
        cumulative: share of the effort at or below each edge; the first value is the share without signal [C + 1].
    """

    edges: Array
    cumulative: Array

    @property
    def without_signal(self) -> float:
        """Share of the effort at SNR = 0."""
        return float(self.cumulative[0])

    @property
    def mean(self) -> float:
        """Mean log-SNR of the effort at timesteps that have a signal."""
        middles, mass = (self.edges[:-1] + self.edges[1:]) / 2, np.diff(self.cumulative)
        return float(np.sum(middles * mass) / mass.sum())

    def at(self, points: Array) -> Array:
        """The cumulative share, interpolated at points of the axis."""
        return np.interp(points, self.edges, self.cumulative)


def law(log_snr: Array, share: Array) -> Law:
    """The distribution of shares [T] of timesteps, cleanest first, that sum to 1.

    >>> effort = law(np.array([1.0, -1.0, -np.inf]), np.array([0.5, 0.25, 0.25]))
    >>> effort.edges, effort.cumulative
    (array([-2.,  0.,  2.]), array([0.25, 0.5 , 1.  ]))
    """
    finite = np.isfinite(log_snr)
    x, mass = log_snr[finite][::-1], share[finite][::-1]
    inner = (x[:-1] + x[1:]) / 2
    edges = np.concatenate(([2 * x[0] - inner[0]], inner, [2 * x[-1] - inner[-1]]))
    return Law(edges, np.cumsum(np.concatenate(([share[~finite].sum()], mass))))


def emphasis_law(tables: Tables) -> Law:
    """The distribution of a recipe's effective emphasis, in v space."""
    return law(tables.log_snr, tables.weight_share(SPACE))


def total_variation(one: Law, other: Law) -> float:
    """Total variation: the part of the effort, 0 to 1, that has to move to turn one distribution into the other."""
    points = _points(one, other)
    moved = np.abs(np.diff(one.at(points)) - np.diff(other.at(points))).sum()
    return float((moved + abs(one.without_signal - other.without_signal)) / 2)


def wasserstein(one: Law, other: Law) -> float:
    """Wasserstein-1 distance in nats of log-SNR, without the shares that have no signal."""
    points = _points(one, other)
    above = [(f.at(points) - f.without_signal) / (1 - f.without_signal) for f in (one, other)]
    return float(np.trapezoid(np.abs(above[0] - above[1]), points))


def _points(one: Law, other: Law) -> Array:
    low, high = min(one.edges[0], other.edges[0]), max(one.edges[-1], other.edges[-1])
    return np.linspace(low, high, int((high - low) / _WIDTH) + 2)
