"""Plain training as the reference of a figure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from snrlab.core.recipe import Tables

_NAMES = ("plain", "plain training", "plain training, the reference")


def is_plain(tables: Tables) -> bool:
    """Whether every timestep is drawn alike with weight 1 and nothing is perturbed."""
    plain = tables.plain
    return np.allclose(tables.weight, 1) and np.allclose(tables.p, plain.p) and not tables.ip_gamma.any()


def with_plain(recipes: Mapping[str, Tables]) -> tuple[dict[str, Tables], str]:
    """The recipes and plain training, with the label of the latter.

    Plain training is added last, on the schedule and prediction type of the first recipe, unless one of them is plain.
    """
    for label, tables in recipes.items():
        if is_plain(tables):
            return dict(recipes), label
    label = next(name for name in _NAMES if name not in recipes)
    return {**recipes, label: next(iter(recipes.values())).plain}, label
