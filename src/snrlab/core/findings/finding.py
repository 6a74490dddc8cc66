"""Finding: one graded statement about a recipe, a run or a file."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Grade = Literal["error", "warning", "info"]
GRADES: tuple[Grade, ...] = ("error", "warning", "info")
_LEVELS: dict[Grade, int] = {"error": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO}


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        code: stable name for programs.
        grade: error, warning or info.
        message: the statement.
        action: what to do about it; empty if there is nothing to do.
        numbers: the numbers behind the message, by name.
    """

    code: str
    grade: Grade
    message: str
    action: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def in_full(self) -> str:
        """Message and action."""
        return f"{self.message} {self.action}" if self.action else self.message

    @property
    def level(self) -> int:
        """The logging level of the grade.

        >>> Finding("fp16_on_cpu", "warning", "It is slow.").level == logging.WARNING
        True
        """
        return _LEVELS[self.grade]

    def __str__(self) -> str:
        """Grade, message and action on one line."""
        return f"{self.grade}: {self.in_full} [{self.code}]"


def timestep_ranges(at: NDArray[np.int64]) -> str:
    """Rising timesteps written as ranges.

    >>> timestep_ranges(np.array([0, 1, 2, 999]))
    't = 0..2 and 999'
    """
    breaks = np.flatnonzero(np.diff(at) > 1)
    starts, ends = at[np.r_[0, breaks + 1]], at[np.r_[breaks, len(at) - 1]]
    ranges = [f"{a}" if a == b else f"{a}..{b}" for a, b in zip(starts, ends, strict=True)]
    return "t = " + (" and ".join(ranges) if len(ranges) < 4 else f"{ranges[0]} ... {ranges[-1]} ({len(at)} steps)")
