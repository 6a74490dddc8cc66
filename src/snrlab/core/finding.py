"""A remark on a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Grade = Literal["error", "warning", "info"]
GRADES: tuple[Grade, ...] = ("error", "warning", "info")


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

    def __str__(self) -> str:
        """Grade, message and action on one line."""
        return f"{self.grade}: {self.message}{' ' + self.action if self.action else ''} [{self.code}]"
