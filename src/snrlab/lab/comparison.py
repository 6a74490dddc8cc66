"""Measurements of validation compared: each with the base and with the one before it, in pairs of the same picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from snrlab.lab.statistics import Estimate, mean

Line = dict[str, Any]


def change(now: Line, then: Line) -> dict[str, Estimate]:
    """How much each band's error has changed from one measurement to another, `now` minus `then`, with its interval.

    Args:
        now: a line of validation.jsonl, whose `errors` hold one number a picture by band.
        then: another of the same run.
    """
    errors = now["errors"], then["errors"]
    return {band: mean(np.array(errors[0][band]) - np.array(errors[1][band])) for band in errors[0]}


def compared(line: Line, earlier: Sequence[Line]) -> Line:
    """The line with its changes by band: `against_base`, the first, and `against_previous`, the last before it."""
    if not earlier:
        return line
    changes = {"against_base": change(line, earlier[0]), "against_previous": change(line, earlier[-1])}
    return line | {name: {band: asdict(e) for band, e in found.items()} for name, found in changes.items()}
