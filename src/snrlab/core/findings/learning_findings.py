"""Remarks on recipes that learn from the losses what to draw."""

from __future__ import annotations

from collections.abc import Iterator

from snrlab.core.findings.finding import Finding
from snrlab.core.recipe import Recipe, Tables


def learns(recipe: Recipe, tables: Tables) -> Iterator[Finding]:
    """What is learnt, and what the tables then mean."""
    if recipe.density.entry.properties.learns:
        yield Finding(
            "density_learns",
            "warning",
            f"{recipe.density.name} draws each step in proportion to its loss so far and divides by nothing: the "
            "objective is learnt. What is shown of density, shares and emphasis is where it starts, not where the "
            "effort goes.",
            'To draw so and keep the objective, use sampling = "importance".',
        )
    if recipe.sampling.entry.properties.learns:
        most = 1 / recipe.sampling.params["floor"]
        yield Finding(
            "sampling_learns",
            "info",
            f"{recipe.sampling.name} draws steps by their loss so far and divides each loss by that: objective, shares "
            f"and emphasis stay those of the density. Single losses count up to {most:.3g} times.",
            "",
            {"most": most},
        )
