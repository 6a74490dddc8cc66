"""snrlab: see, train and prove how a diffusion recipe spreads effort over noise levels.

>>> from snrlab import Recipe, WEIGHTINGS
>>> tables = Recipe(weighting=(WEIGHTINGS.bind("min_snr", gamma=5.0),)).tables()
>>> round(float(tables.mean_weight), 3)
0.917
"""

from __future__ import annotations

import logging
from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

from snrlab.blas import fix_mkl_rounding

if TYPE_CHECKING:
    from snrlab.core.errors import UserError
    from snrlab.core.findings.recipe_findings import Finding, findings
    from snrlab.core.lr_schedules import LR_SCHEDULES
    from snrlab.core.perturbation import PERTURBATIONS
    from snrlab.core.recipe import Recipe, Tables
    from snrlab.core.registries.tensor_registries import LOSSES, NOISES, OPTIMIZERS
    from snrlab.core.schedule import SCHEDULES, NoiseSchedule
    from snrlab.core.timesteps.density import DENSITIES
    from snrlab.core.timesteps.timestep_sampling import SAMPLINGS
    from snrlab.core.weights.weighting import WEIGHTINGS

logging.getLogger(__name__).addHandler(logging.NullHandler())  # the application decides what is shown
fix_mkl_rounding()  # must run before torch computes anything, and every entry point imports this package first
__version__ = metadata.version("snrlab")
__all__ = [
    "DENSITIES",
    "LOSSES",
    "LR_SCHEDULES",
    "NOISES",
    "OPTIMIZERS",
    "PERTURBATIONS",
    "SAMPLINGS",
    "SCHEDULES",
    "WEIGHTINGS",
    "Finding",
    "NoiseSchedule",
    "Recipe",
    "Tables",
    "UserError",
    "findings",
]
# where each public name is defined; imported when it is first asked for, so that a command that needs none starts at
# once
_MODULES = {
    "DENSITIES": "core.timesteps.density",
    "LOSSES": "core.registries.tensor_registries",
    "LR_SCHEDULES": "core.lr_schedules",
    "NOISES": "core.registries.tensor_registries",
    "OPTIMIZERS": "core.registries.tensor_registries",
    "PERTURBATIONS": "core.perturbation",
    "SAMPLINGS": "core.timesteps.timestep_sampling",
    "SCHEDULES": "core.schedule",
    "WEIGHTINGS": "core.weights.weighting",
    "Finding": "core.findings.recipe_findings",
    "NoiseSchedule": "core.schedule",
    "Recipe": "core.recipe",
    "Tables": "core.recipe",
    "UserError": "core.errors",
    "findings": "core.findings.recipe_findings",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
