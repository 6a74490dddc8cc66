"""Curves of the user's: piecewise linear in log-SNR, written `-5/0.2;0/1;5/0.1` or `@file.csv`.

Each point is log_snr / value, where log_snr is the natural logarithm of the SNR. Beyond the outer
points the curve keeps their values, so it is finite at SNR = 0 too.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

from snrlab.core.arrays import Array
from snrlab.core.errors import UserError
from snrlab.core.regular_file import check_regular_file

_MAX_BYTES = 2**23  # of a CSV file


@dataclass(frozen=True)
class Points:
    """Marker of a parameter that holds a curve; `check` inlines a CSV file."""

    example: str = "-5/0.2;0/1;5/0.1"

    def check(self, value: str) -> str:
        """The curve as text, sorted by log_snr, with numbers in their shortest form."""
        nodes, values = parse_curve(value)
        return ";".join(f"{x:.12g}/{y:.12g}" for x, y in zip(nodes, values, strict=True))


Curve = Annotated[str, Points()]


def parse_curve(text: str) -> tuple[Array, Array]:
    """Parse a curve into nodes (log_snr, rising) and values (>= 0).

    >>> parse_curve("0/1;-5/0.2")
    (array([-5.,  0.]), array([0.2, 1. ]))

    Raises:
        UserError: invalid syntax, a repeated node, or a negative or non-finite number.
    """
    pairs = _read_csv(text[1:]) if text.startswith("@") else [p.split("/") for p in text.split(";") if p.strip()]
    try:
        points = np.array(sorted((float(x), float(y)) for x, y in pairs), dtype=np.float64).reshape(-1, 2)
    except ValueError:
        raise UserError(
            f"curve '{text}': write points as log_snr/value;..., such as {Points.example}.", code="invalid-syntax"
        ) from None
    if len(points) == 0:
        raise UserError(f"curve '{text}': it has no points; write them as {Points.example}.", code="invalid-syntax")
    if not np.isfinite(points).all() or (points[:, 1] < 0).any():
        raise UserError(f"curve '{text}': log_snr must be finite and values finite and >= 0.", code="out-of-range")
    if (np.diff(points[:, 0]) == 0).any():
        raise UserError(f"curve '{text}': the same log_snr appears twice.", code="stated-twice")
    return points[:, 0], points[:, 1]


def curve_value(text: str, log_snr: Array) -> Array:
    """Value of the curve at each log_snr.

    >>> curve_value("-5/0.2;0/1;5/0.1", np.array([-np.inf, -2.5, 0.0, 9.0]))
    array([0.2, 0.6, 1. , 0.1])
    """
    nodes, values = parse_curve(text)
    return np.interp(log_snr, nodes, values)


def _read_csv(name: str) -> list[list[str]]:
    check_regular_file(Path(name), f"curve '@{name}'", _MAX_BYTES)
    try:
        with Path(name).open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, ValueError, csv.Error) as reason:
        raise UserError(f"curve '@{name}': the file cannot be read ({reason}).", code="unreadable-file") from None
    if rows and not _is_number(rows[0][0]):  # a header line
        rows = rows[1:]
    return [row[:2] for row in rows]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
