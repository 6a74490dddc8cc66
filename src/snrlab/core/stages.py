"""Parts of a recipe that change during training, piecewise in steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from snrlab.core.errors import UserError
from snrlab.core.perturbation import PerturbationProperties
from snrlab.core.registries.registry import Choice
from snrlab.core.timesteps.density import DensityProperties
from snrlab.core.weights.weighting import WeightingProperties


@dataclass(frozen=True)
class Stage:
    """What a recipe changes to at a step; None is as it was before.

    Attributes:
        from_step: the first step of the stage, counted from 0; >= 1.
    """

    from_step: int
    weighting: tuple[Choice[WeightingProperties], ...] | None = None
    max_weight: float | None = None
    min_weight: float | None = None
    normalize: bool | None = None
    density: Choice[DensityProperties] | None = None
    perturbation: Choice[PerturbationProperties] | None = None

    @property
    def changes(self) -> dict[str, Any]:
        """The recipe's fields that it states."""
        stated = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "from_step"}
        return {name: value for name, value in stated.items() if value is not None}


def refuse_impossible_stages(stages: Sequence[Stage]) -> None:
    """Refuse stages that are out of order, say nothing, or learn (UserError)."""
    before = 0
    for stage in stages:
        if stage.from_step <= before:
            raise UserError(
                f"recipe.stages: from_step is {stage.from_step} after {before}; stages start at step 1 or later, and "
                "each later than the one before.",
                code="out-of-range",
            )
        before = stage.from_step
        if not stage.changes:
            raise UserError(
                f"recipe.stages: the stage from step {stage.from_step} states nothing that changes.",
                code="unused-option",
            )
        if stage.density is not None and stage.density.entry.properties.learns:
            raise UserError(
                f"recipe.stages: {stage.density.name} learns from the first step on; make it the density of [recipe].",
                code="not-supported",
            )
