"""How OneTrainer draws timesteps: its options as a density."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from snrlab.core.errors import UserError
from snrlab.core.registries.registry import Choice
from snrlab.core.timesteps.density import DENSITIES

DISTRIBUTIONS = ("UNIFORM", "SIGMOID", "LOGIT_NORMAL", "HEAVY_TAIL", "COS_MAP", "INVERTED_PARABOLA", "BETA")
_STEPS = 1000
OWN = "onetrainer_"  # beginning of the names of the program's own densities
_NUMBERS = {"noising_weight": 0.0, "noising_bias": 0.0, "timestep_shift": 1.0,
           "min_noising_strength": 0.0, "max_noising_strength": 1.0}  # fmt: skip


def density(options: Mapping[str, Any]) -> Choice:
    """The density of a configuration: under a paper's name where it is that one, else under the program's.

    >>> density({"timestep_distribution": "LOGIT_NORMAL", "noising_bias": 0.5}).spec
    'logit_normal:mean=0.5,std=1'

    Raises:
        UserError: a number out of range.
    """
    kind = str(options.get("timestep_distribution", "UNIFORM"))
    numbers = {name: number(options, name, default) for name, default in _NUMBERS.items()}
    limits = [int(_STEPS * numbers[f"{end}_noising_strength"]) for end in ("min", "max")]
    if numbers["timestep_shift"] == 1 and kind == "UNIFORM":
        stated = {} if limits == [0, _STEPS] else {"min_timestep": limits[0], "max_timestep": limits[1]}
        return DENSITIES.bind("uniform", **stated)
    if numbers["timestep_shift"] == 1 and kind == "LOGIT_NORMAL" and limits == [0, _STEPS]:
        return DENSITIES.bind("logit_normal", mean=numbers["noising_bias"], std=numbers["noising_weight"] + 1)
    entry = DENSITIES[OWN + kind.lower()]
    return entry.bind(**{name: value for name, value in numbers.items() if name in entry.parameters})


def options_of(choice: Choice) -> dict[str, Any] | None:
    """The program's options for a density; None where it has none.

    >>> options_of(DENSITIES.bind("logit_normal", mean=0.5))
    {'timestep_distribution': 'LOGIT_NORMAL', 'noising_bias': 0.5, 'noising_weight': 0.0}
    """
    params = choice.params
    if choice.name == "uniform":
        low, high = params["min_timestep"], params["max_timestep"]
        stated = {"min_noising_strength": low / _STEPS if low else None,
                  "max_noising_strength": high / _STEPS if high else None}  # fmt: skip
        return {name: value for name, value in stated.items() if value is not None}
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
    """A number of a configuration; UserError where it is something else."""
    value = options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise UserError(f"{name} is {value!r}; it must be a number.", code="not-a-number")
    return float(value)
