"""snrlab: see, train and prove how a diffusion recipe spreads effort over noise levels.

>>> from snrlab import Recipe, WEIGHTINGS
>>> tables = Recipe(weighting=(WEIGHTINGS.bind("min_snr", gamma=5.0),)).tables()
>>> round(float(tables.mean_weight), 3)
0.917
"""

from __future__ import annotations

import logging
from importlib import metadata

from snrlab.blas import fix_mkl_rounding
from snrlab.core.errors import UserError
from snrlab.core.findings.recipe_findings import Finding, findings
from snrlab.core.lr_schedules import LR_SCHEDULES
from snrlab.core.perturbation import PERTURBATIONS
from snrlab.core.recipe import Recipe, Tables
from snrlab.core.registries.tensor_registries import LOSSES, NOISES, OPTIMIZERS
from snrlab.core.schedule import SCHEDULES, NoiseSchedule
from snrlab.core.timesteps import peer_densities as _peer_densities  # noqa: F401  (registers its entries)
from snrlab.core.timesteps.density import DENSITIES
from snrlab.core.timesteps.timestep_sampling import SAMPLINGS
from snrlab.core.weights import peer_weightings as _peer_weightings  # noqa: F401  (registers its entries)
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
