"""A remark on a recipe."""

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
    """One remark.

    Attributes:
        code: stable name for programs.
        grade: error, warning or info.
        message: what is the case.
        action: what to do about it; empty where there is nothing to do.
        numbers: the figures behind the message.
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
        """The level that it is logged at.

        >>> Finding("fp16_on_cpu", "warning", "It is slow.").level == logging.WARNING
        True
        """
        return _LEVELS[self.grade]

    def __str__(self) -> str:
        """Grade, message and action on one line."""
        return f"{self.grade}: {self.in_full} [{self.code}]"


def timestep_ranges(at: NDArray[np.int64]) -> str:
    """Timesteps, rising, as ranges.

    >>> timestep_ranges(np.array([0, 1, 2, 999]))
    't = 0..2 and 999'
    """
    breaks = np.flatnonzero(np.diff(at) > 1)
    starts, ends = at[np.r_[0, breaks + 1]], at[np.r_[breaks, len(at) - 1]]
    ranges = [f"{a}" if a == b else f"{a}..{b}" for a, b in zip(starts, ends, strict=True)]
    return "t = " + (" and ".join(ranges) if len(ranges) < 4 else f"{ranges[0]} ... {ranges[-1]} ({len(at)} steps)")
