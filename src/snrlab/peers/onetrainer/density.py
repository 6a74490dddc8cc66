"""Density of OneTrainer's timestep sampling: conversion from and to its options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from snrlab.core.errors import UserError
from snrlab.core.registries.registry import Choice
from snrlab.core.timesteps.density import DENSITIES

DISTRIBUTIONS = ("UNIFORM", "SIGMOID", "LOGIT_NORMAL", "HEAVY_TAIL", "COS_MAP", "INVERTED_PARABOLA", "BETA")
_STEPS = 1000
OWN = "onetrainer_"  # prefix of the names of OneTrainer's own densities
_NUMBERS = {"noising_weight": 0.0, "noising_bias": 0.0, "timestep_shift": 1.0,
           "min_noising_strength": 0.0, "max_noising_strength": 1.0}  # fmt: skip


def density(options: Mapping[str, Any]) -> Choice:
    """Density of a configuration: the published one where it is the same, else OneTrainer's own.

    >>> density({"timestep_distribution": "LOGIT_NORMAL", "noising_bias": 0.5}).spec
    'logit_normal:mean=0.5,std=1'

    Raises:
        UserError: a number out of range.
    """
    kind = str(options.get("timestep_distribution", "UNIFORM"))
    numbers = {name: number(options, name, default) for name, default in _NUMBERS.items()}
    limits = [int(_STEPS * numbers[f"{end}_noising_strength"]) for end in ("min", "max")]
    if numbers["timestep_shift"] == 1 and kind == "UNIFORM":
        limit_options = {} if limits == [0, _STEPS] else {"min_timestep": limits[0], "max_timestep": limits[1]}
        return DENSITIES.bind("uniform", **limit_options)
    if numbers["timestep_shift"] == 1 and kind == "LOGIT_NORMAL" and limits == [0, _STEPS]:
        return DENSITIES.bind("logit_normal", mean=numbers["noising_bias"], std=numbers["noising_weight"] + 1)
    entry = DENSITIES[OWN + kind.lower()]
    return entry.bind(**{name: value for name, value in numbers.items() if name in entry.parameters})


def options_of(choice: Choice) -> dict[str, Any] | None:
    """OneTrainer's options for a density; None where it has no counterpart.

    >>> options_of(DENSITIES.bind("logit_normal", mean=0.5))
    {'timestep_distribution': 'LOGIT_NORMAL', 'noising_bias': 0.5, 'noising_weight': 0.0}
    """
    params = choice.params
    if choice.name == "uniform":
        low, high = params["min_timestep"], params["max_timestep"]
        limit_options = {"min_noising_strength": low / _STEPS if low else None,
                  "max_noising_strength": high / _STEPS if high else None}  # fmt: skip
        return {name: value for name, value in limit_options.items() if value is not None}
    if choice.name == "logit_normal":
        return {
            "timestep_distribution": "LOGIT_NORMAL",
            "noising_bias": params["mean"],
            "noising_weight": params["std"] - 1,
        }
    if choice.name.startswith(OWN):
        return {"timestep_distribution": choice.name.removeprefix(OWN).upper(), **params}
    return None


def number(options: Mapping[str, Any], name: str, default: float) -> float:
    """Number in a configuration (UserError for another type)."""
    value = options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise UserError(f"{name} is {value!r}; it must be a number.", code="not-a-number")
    return float(value)
