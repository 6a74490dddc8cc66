"""Measurements of validation compared: each with the base and with the one before it, in pairs of the same picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from snrlab.lab.statistics import Estimate, mean
from snrlab.runs.logs import EstimateLine, ValidationLine


def change(now: ValidationLine, then: ValidationLine) -> dict[str, Estimate]:
    """How much each band's error has changed from one measurement to another, `now` minus `then`, with its interval.

    Args:
        now: a line of validation.jsonl, whose `errors` hold one number a picture by band.
        then: another of the same run.
    """
    errors = now["errors"], then["errors"]
    return {band: mean(np.array(errors[0][band]) - np.array(errors[1][band])) for band in errors[0]}


def compared(line: ValidationLine, earlier: Sequence[ValidationLine]) -> ValidationLine:
    """The line with its changes by band: `against_base`, the first, and `against_previous`, the last before it."""
    if not earlier:
        return line
    return {
        **line,
        "against_base": as_lines(change(line, earlier[0])),
        "against_previous": as_lines(change(line, earlier[-1])),
    }


def as_lines(estimates: dict[str, Estimate]) -> dict[str, EstimateLine]:
    """Estimates by band as validation.jsonl has them."""
    return {band: EstimateLine(value=e.value, low=e.low, high=e.high) for band, e in estimates.items()}
