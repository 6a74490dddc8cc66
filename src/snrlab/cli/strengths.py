"""LoRA strengths: the check that several commands share."""

from __future__ import annotations

import math
from collections.abc import Iterable

from snrlab.core.errors import UserError


def check_finite_strength(field: str, strengths: Iterable[float]) -> None:
    """Refuse a strength that is not finite (UserError): its pictures would silently be noise."""
    for strength in strengths:
        if not math.isfinite(strength):
            raise UserError(
                f"{field}: the strength is {strength}; it must be a finite number, 0 is without the LoRA.",
                code="out-of-range",
            )
