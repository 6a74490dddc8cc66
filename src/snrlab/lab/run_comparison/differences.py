"""Held-out losses of two arms by noise level: the change from the first to the second, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np

from snrlab.core.arrays import Array
from snrlab.lab.run_comparison.arms import Arm
from snrlab.lab.run_comparison.pairing import PairingObstacle, pair
from snrlab.lab.statistics import Estimate, t_interval, welch_interval
from snrlab.runs.logs import ValidationLine

Method = Literal["pairs of images", "pairs of seeds", "seeds", "none"]
Reading = Literal["lower", "perhaps lower", "none shown", "perhaps higher", "higher"]
PairOutcome = Literal["first", "second", "neither", "opposite", "not measured"]
CONFIDENCE = 0.95


@dataclass(frozen=True)
class BandChange:
    """The held-out loss in one SNR band.

    Attributes:
        before, first, second: mean loss of the base model (None if not measured) and of the two arms.
        change: of the second against the first, as a part of the first's loss, with its 95 % interval.
        reading: `lower` or `higher` where the second's loss clearly is, that is also where the 95 % are divided among
            all bands and pairs that are looked at; `perhaps` where only the band's own interval leaves out 0.
    """

    band: str
    before: float | None
    first: float
    second: float
    change: Estimate
    reading: Reading


@dataclass(frozen=True)
class PairComparison:
    """Two arms compared.

    Attributes:
        first, second: labels of the arms.
        method: what the intervals go over.
        count: number of images or seeds that they go over.
        seeds: number of seeds of each arm that the comparison rests on.
        steps: steps after which the two were measured.
        bands: the losses; empty where an obstacle keeps them from being compared.
        obstacle: why they are not compared, or None.
        outcome: the arm whose loss is clearly lower in some band and clearly higher in none; `opposite` where each is
            lower somewhere; `neither` where no difference is clear.
    """

    first: str
    second: str
    method: Method
    count: int
    seeds: int
    steps: tuple[int, ...]
    bands: tuple[BandChange, ...]
    obstacle: PairingObstacle | None
    outcome: PairOutcome


@dataclass(frozen=True)
class _Measurements:
    """Measurements to compare; those of the two arms correspond, except for the method `seeds`."""

    method: Method
    first: tuple[ValidationLine, ...]
    second: tuple[ValidationLine, ...]
    before: tuple[ValidationLine, ...]

    def errors(self, band: str) -> tuple[list[Array], list[Array]]:
        """Each image's errors in a band, for each measurement of the first and of the second arm."""
        first, second = ([np.array(line["errors"][band]) for line in side] for side in (self.first, self.second))
        return first, second

    @property
    def count(self) -> int:
        """Number of images or seeds that an interval goes over."""
        return len(self.first[0]["images"]) if self.method == "pairs of images" else self.seeds

    @property
    def seeds(self) -> int:
        """Number of seeds of each arm."""
        return min(len(self.first), len(self.second))


def compare_arms(one: Arm, other: Arm, looks: int) -> PairComparison:
    """Compare two arms: over the seeds of both if each has two or more, else over the images of one seed.

    Args:
        one: the arm that the other is compared with.
        other: the other.
        looks: number of pairs of arms in the whole comparison, among which the error probability is divided.
    """
    measured = _measurements(one, other)
    if isinstance(measured, PairingObstacle):
        return PairComparison(one.label, other.label, "none", 0, 0, (), (), measured, "not measured")
    names = list(measured.first[0]["errors"])
    bands = tuple(_band_change(band, measured, len(names) * looks) for band in names)
    steps = (measured.first[-1]["step"], measured.second[-1]["step"])
    return PairComparison(
        one.label, other.label, measured.method, measured.count, measured.seeds, steps, bands, None, _outcome(bands)
    )


def _measurements(one: Arm, other: Arm) -> _Measurements | PairingObstacle:
    """The measurements to compare: in pairs of one seed where both have it, else of all seeds on the same images."""
    common = [seed for seed in one.seeds if seed in other.seeds]
    runs = [(one.run_of(seed), other.run_of(seed)) for seed in common] or list(product(one.runs, other.runs))
    pairs = []
    for a, b in runs:
        measured = pair(a, b)
        if isinstance(measured, PairingObstacle):
            return measured
        pairs.append(measured)
    if not common and min(len(one.runs), len(other.runs)) > 1:
        across = len(other.runs)
        first, second = pairs[::across], pairs[:across]
        before = tuple(p.before for p in first if p.before)
        return _Measurements("seeds", tuple(p.first for p in first), tuple(p.second for p in second), before)
    used = pairs if common else pairs[:1]
    return _Measurements(
        "pairs of seeds" if len(used) > 1 else "pairs of images",
        tuple(p.first for p in used),
        tuple(p.second for p in used),
        tuple(p.before for p in used if p.before),
    )


def _band_change(band: str, measured: _Measurements, looks: int) -> BandChange:
    first, second = measured.errors(band)
    own, divided = (_change(first, second, measured.method, c) for c in (CONFIDENCE, 1 - (1 - CONFIDENCE) / looks))
    before, one, other = (
        [float(np.mean(line["errors"][band])) for line in lines]
        for lines in (measured.before, measured.first, measured.second)
    )
    return BandChange(
        band,
        float(np.mean(before)) if before else None,
        float(np.mean(one)),
        float(np.mean(other)),
        own,
        _reading(own, divided),
    )


def _change(first: Sequence[Array], second: Sequence[Array], method: Method, confidence: float) -> Estimate:
    """The change as a part of the first's loss."""
    if method == "pairs of images":
        return _scaled(t_interval(second[0] - first[0], confidence), float(first[0].mean()))
    one, other = (np.array([values.mean() for values in side]) for side in (first, second))
    if method == "pairs of seeds":
        return t_interval(other / one - 1, confidence)
    return _scaled(welch_interval(one, other, confidence), float(one.mean()))


def _scaled(estimate: Estimate, by: float) -> Estimate:
    return Estimate(estimate.value / by, estimate.low / by, estimate.high / by)


def _reading(own: Estimate, divided: Estimate) -> Reading:
    if divided.high < 0:
        return "lower"
    if divided.low > 0:
        return "higher"
    if own.high < 0:
        return "perhaps lower"
    return "perhaps higher" if own.low > 0 else "none shown"


def _outcome(bands: Sequence[BandChange]) -> PairOutcome:
    readings = {band.reading for band in bands}
    if {"lower", "higher"} <= readings:
        return "opposite"
    return "second" if "lower" in readings else "first" if "higher" in readings else "neither"
