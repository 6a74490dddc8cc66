"""Sliders of a page of graphs: the curves of a recipe at a grid of values of each of its parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from snrlab.core.errors import UserError
from snrlab.core.recipe import Recipe, Tables
from snrlab.lab.figures.panels import PANELS

_FACTORS = 2.0 ** np.arange(-3, 3.5, 0.5)  # of the value that the recipe has
_LIMITS = 10  # values of max_weight


@dataclass(frozen=True, eq=False)
class Slider:
    """A parameter of a recipe with other values than the recipe's.

    Attributes:
        recipe: label of the recipe.
        parameter: name of the parameter, such as `min_snr gamma` or `max_weight`.
        values: the values in words, in rising order.
        start: index of the recipe's own value.
        tables: the tables for each value.
    """

    recipe: str
    parameter: str
    values: tuple[str, ...]
    start: int
    tables: tuple[Tables, ...]

    def moves(self, panel: str) -> bool:
        """Whether the graph of that name changes with the parameter."""
        first, *others = (PANELS[panel].curve(tables) for tables in self.tables)
        return not all(np.array_equal(first, other, equal_nan=True) for other in others)


def sliders(label: str, recipe: Recipe) -> Iterator[Slider]:
    """A slider for each number of each weighting, and one for max_weight, where there are several valid values."""
    for index, choice in enumerate(recipe.weighting):
        for name, value in choice.params.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
                continue
            variants = []
            for varied in _FACTORS * value:
                try:
                    new = choice.entry.bind(**{**choice.params, name: float(f"{varied:.3g}")})
                except UserError:  # beyond what the parameter allows
                    continue
                weighting = (*recipe.weighting[:index], new, *recipe.weighting[index + 1 :])
                own = bool(np.isclose(varied, value))
                variants.append((f"{varied:.3g}", recipe if own else replace(recipe, weighting=weighting), own))
            yield from _slider(label, f"{choice.name} {name}", variants)
    yield from _slider(label, "max_weight", list(_limits(recipe)))


def _limits(recipe: Recipe) -> Iterator[tuple[str, Recipe, bool]]:
    """Values of max_weight that act, and none; the recipe's own among them."""
    weights = replace(recipe, max_weight=None, normalize=False).tables().weight
    largest = weights[np.isfinite(weights)].max(initial=0.0)
    lowest = max(largest / 20, recipe.min_weight or 0.0)
    if largest == weights.min() or lowest >= largest:
        return
    limits = {float(f"{limit:.3g}") for limit in np.geomspace(lowest, largest, _LIMITS, endpoint=False)}
    own = recipe.max_weight
    for limit in sorted(limits | ({own} if own is not None else set())):
        yield f"{limit:.3g}", replace(recipe, max_weight=limit), limit == own
    yield "none", replace(recipe, max_weight=None), own is None


def _slider(label: str, parameter: str, variants: Sequence[tuple[str, Recipe, bool]]) -> Iterator[Slider]:
    if len(variants) < 2:
        return
    values, recipes, own = zip(*variants, strict=True)
    yield Slider(label, parameter, tuple(values), own.index(True), tuple(recipe.tables() for recipe in recipes))
