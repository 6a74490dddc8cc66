"""Estimates with intervals: bootstrap (in pairs where measurements are), jackknife, Student's t for a few values."""

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


def t_interval(values: Array, confidence: float = 0.95) -> Estimate:
    """The mean of a few independent values with Student's t interval, which is right even for two values.

    Args:
        values: independent values, or differences of pairs [n], n >= 2.
        confidence: how often the interval covers the true mean.

    >>> print(t_interval(np.array([1.0, 2.0, 3.0])))  # 2 -+ 4.303 / sqrt(3)
    2 (-0.4841 to 4.484)
    """
    error = float(values.std(ddof=1)) / len(values) ** 0.5
    return _around(float(values.mean()), error, len(values) - 1, confidence)


def welch_interval(one: Array, other: Array, confidence: float = 0.95) -> Estimate:
    """The difference of two means, `other` minus `one`, of independent values [n >= 2] and [m >= 2] (Welch's t)."""
    parts = [float(values.var(ddof=1)) / len(values) for values in (one, other)]
    error = sum(parts) ** 0.5
    spread = sum(part**2 / (len(v) - 1) for part, v in zip(parts, (one, other), strict=True))
    # rounded down, which makes the interval wider, never narrower
    freedom = max(1, int(sum(parts) ** 2 / spread)) if spread else len(one) + len(other) - 2
    return _around(float(other.mean() - one.mean()), error, freedom, confidence)


def t_quantile(confidence: float, freedom: int) -> float:
    """The half width of an interval of Student's t in standard errors, for `freedom` degrees of freedom (whole).

    >>> [round(t_quantile(0.95, freedom), 3) for freedom in (1, 2, 10, 100)]
    [12.706, 4.303, 2.228, 1.984]
    """
    low, high = 0.0, np.pi / 2  # of the angle arctan(t / sqrt(freedom)), in which the coverage is a finite sum
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_coverage(middle, freedom) < confidence else (low, middle)
    return float(np.tan(low) * freedom**0.5)


def _t_coverage(angle: float, freedom: int) -> float:
    """The probability of |t| below sqrt(freedom) tan(angle): Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    sine, cosine, odd = np.sin(angle), np.cos(angle), freedom % 2
    term, total = cosine if odd else 1.0, 0.0
    for k in range(odd, freedom - 1, 2):
        total += term
        term *= cosine**2 * (k + 1) / (k + 2)
    return float(2 / np.pi * (angle + sine * total) if odd else sine * total)


def _around(value: float, error: float, freedom: int, confidence: float) -> Estimate:
    half = t_quantile(confidence, freedom) * error
    return Estimate(value, value - half, value + half)
