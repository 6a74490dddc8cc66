"""The factor on the loss that keeps small fp16 gradients above 0; a power of two, so that it rounds nothing.

A step whose gradients overflow is taken again at half the scale, with the same draws: no step is skipped, and a run
stays a function of its seed. Only fp16 needs it; elsewhere it is 1.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST = 2.0**16
PATIENCE = 2000  # good steps before the scale is doubled


@dataclass
class LossScale:
    """The scale of a run, and how many steps in a row it has served; 1 is fixed."""

    value: float = 1.0
    good: int = 0

    @classmethod
    def of(cls, *, half: bool) -> LossScale:
        """The scale to begin with, for a network in fp16 or not."""
        return cls(FIRST if half else 1.0)

    def succeeded(self) -> None:
        """Take note of finite gradients.

        >>> scale = LossScale(4.0, good=1999)
        >>> scale.succeeded()
        >>> scale
        LossScale(value=8.0, good=0)
        """
        if self.value == 1:
            return
        self.good += 1
        if self.good == PATIENCE:
            self.value, self.good = 2 * self.value, 0

    def lower(self) -> bool:
        """Halve the scale; False where it is 1 already, so that it was not the scale.

        >>> scale = LossScale(4.0, good=5)
        >>> scale.lower(), scale
        (True, LossScale(value=2.0, good=0))
        """
        if self.value == 1:
            return False
        self.value, self.good = self.value / 2, 0
        return True
