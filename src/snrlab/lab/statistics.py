"""Estimates with 95 % intervals: the bootstrap over measurements, paired where they come in pairs; the jackknife."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snrlab.core.arrays import Array
from snrlab.runs.logs import EstimateLine, ValidationLine

RESAMPLES = 1000
_BLOCK = 100  # resamples drawn at once, which bounds the memory


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Value and interval, to four digits."""
        return f"{self.value:.4g} ({self.low:.4g} to {self.high:.4g})"


def jackknife(statistic: Callable[[NDArray[np.int64]], float], size: int, groups: int = 20) -> Estimate:
    """Delete-a-group jackknife of a statistic that must not see a row twice, such as KID.

    Args:
        statistic: function from row indices without repetition to a number.
        size: number of rows.
        groups: number of groups, each left out in turn.
    """
    rows = np.arange(size)
    left_out = np.array([statistic(rows[rows % groups != g]) for g in range(groups)])
    error = np.sqrt((groups - 1) / groups * np.sum((left_out - left_out.mean()) ** 2))
    value = statistic(rows)
    return Estimate(value, float(value - 1.96 * error), float(value + 1.96 * error))


def mean(values: Array, seed: int = 0) -> Estimate:
    """The mean of measurements with its percentile bootstrap interval.

    Args:
        values: measurements [n].
        seed: seed of the resampling.

    >>> mean(np.ones(8))
    Estimate(value=1.0, low=1.0, high=1.0)
    """
    rng, size = np.random.default_rng(seed), len(values)
    blocks = [values[rng.integers(size, size=(_BLOCK, size))].mean(axis=-1) for _ in range(RESAMPLES // _BLOCK)]
    low, high = np.quantile(np.concatenate(blocks), [0.025, 0.975])
    return Estimate(float(values.mean()), float(low), float(high))


def change(now: ValidationLine, then: ValidationLine) -> dict[str, Estimate]:
    """Change of each band's error between two measurements, `now` minus `then`, with its interval.

    Args:
        now: a line of validation.jsonl, whose `errors` hold one number for each image, by band.
        then: another line of the same run.
    """
    errors = now["errors"], then["errors"]
    return {band: mean(np.array(errors[0][band]) - np.array(errors[1][band])) for band in errors[0]}


def compared(line: ValidationLine, earlier: Sequence[ValidationLine]) -> ValidationLine:
    """The line with its changes by band: `against_base` (the first line) and `against_previous` (the one before)."""
    if not earlier:
        return line
    return {
        **line,
        "against_base": as_lines(change(line, earlier[0])),
        "against_previous": as_lines(change(line, earlier[-1])),
    }


def as_lines(estimates: dict[str, Estimate]) -> dict[str, EstimateLine]:
    """Estimates by band in the form of validation.jsonl."""
    return {band: EstimateLine(value=e.value, low=e.low, high=e.high) for band, e in estimates.items()}
