"""Stages of a recipe: fields that change at given steps during training."""

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
    """New values for fields of a recipe from a step on; None leaves a field as before.

    Attributes:
        from_step: first step of the stage, counted from 0; >= 1.
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
        """The fields that the stage sets, by name."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "from_step"}
        return {name: value for name, value in values.items() if value is not None}


def refuse_impossible_stages(stages: Sequence[Stage]) -> None:
    """Refuse stages that are out of order, set nothing, or have a density that learns (UserError)."""
    previous = 0
    for stage in stages:
        if stage.from_step <= previous:
            raise UserError(
                f"recipe.stages: from_step is {stage.from_step} after {previous}; stages start at step 1 or later, and "
                "each later than the one before.",
                code="out-of-range",
            )
        previous = stage.from_step
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
