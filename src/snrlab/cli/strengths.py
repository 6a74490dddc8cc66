"""Strengths of LoRAs, as several commands take them."""

from __future__ import annotations

import math
from collections.abc import Iterable

from snrlab.core.errors import UserError


def check_finite_strength(field: str, strengths: Iterable[float]) -> None:
    """Refuse a strength that is no finite number (UserError): its pictures would be noise without a word."""
    for strength in strengths:
        if not math.isfinite(strength):
            raise UserError(
                f"{field}: the strength is {strength}; it must be a finite number, 0 is without the LoRA.",
                code="out-of-range",
            )
