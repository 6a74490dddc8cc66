"""Loss scaling for fp16: a factor that keeps small gradients above 0; a power of two, so that it rounds nothing.

A step whose gradients overflow is repeated at half the scale, with the same draws: no step is skipped, and a run
stays a function of its seed. Only fp16 needs it; elsewhere the scale is 1.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST = 2.0**16
PATIENCE = 2000  # good steps before the scale is doubled


@dataclass
class LossScale:
    """The loss scale, and the number of good steps since it last changed; a scale of 1 is fixed."""

    value: float = 1.0
    good: int = 0

    @classmethod
    def of(cls, *, half: bool) -> LossScale:
        """The initial scale, for a network in fp16 (`half`) or not."""
        return cls(FIRST if half else 1.0)

    def succeeded(self) -> None:
        """Count a step with finite gradients; after PATIENCE of them the scale doubles.

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
        """Halve the scale; False if it is already 1, so that it is not the cause of an overflow.

        >>> scale = LossScale(4.0, good=5)
        >>> scale.lower(), scale
        (True, LossScale(value=2.0, good=0))
        """
        if self.value == 1:
            return False
        self.value, self.good = self.value / 2, 0
        return True
