"""Strengths of a LoRA, where there is one. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence

from snrlab.core.errors import UserError


def refuse_strength_without_lora(strengths: Sequence[float] | None, *, has_lora: bool) -> None:
    """Check that there is a LoRA whose strength can be set (UserError)."""
    if strengths and not has_lora:
        raise UserError(
            "--strength sets how much of a LoRA is used, and this source has no LoRA. Add one: --lora FILE",
            code="unused-option",
        )
