"""How OneTrainer draws timesteps: each of its distributions as a density p(t)."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snrlab.core.density import DENSITIES
from snrlab.core.errors import UserError
from snrlab.core.registry import Choice
from snrlab.core.schedule import SCHEDULES, zero_terminal_snr

Array = NDArray[np.float64]
DISTRIBUTIONS = ("UNIFORM", "SIGMOID", "LOGIT_NORMAL", "HEAVY_TAIL", "COS_MAP", "INVERTED_PARABOLA", "BETA")
STEPS = 1000
GRID = 100_000  # quantiles, for the distributions that are drawn through a formula
FLOOR_LOG_SNR = -60.0  # where a step without signal stands on a curve over log-SNR


def density(options: Mapping[str, Any], *, zero_terminal: bool) -> Choice:
    """The density of a configuration: `uniform` where it is that, else a curve through every step.

    Raises:
        UserError: a number out of range, or the one distribution that has no formula (BETA with both parameters).
    """
    kind = str(options.get("timestep_distribution", "UNIFORM"))
    low, high = (_number(options, f"{end}_noising_strength", d) for end, d in (("min", 0.0), ("max", 1.0)))
    first, stop = int(STEPS * low), int(STEPS * high)
    shift = _number(options, "timestep_shift", 1.0)
    if not (0 <= first < stop <= STEPS and shift > 0):
        raise UserError(f"noising strengths {low} to {high} with timestep_shift {shift} leave nothing to draw.")
    if kind == "UNIFORM" and shift == 1:
        return DENSITIES.bind("uniform", **({} if (first, stop) == (0, STEPS) else
                                            {"min_timestep": first, "max_timestep": stop}))  # fmt: skip
    p = np.zeros(STEPS)
    weight, bias = (_number(options, f"noising_{name}", 0.0) for name in ("weight", "bias"))
    if kind in ("COS_MAP", "SIGMOID", "INVERTED_PARABOLA"):
        p[first:stop] = _listed(kind, stop - first, shift, weight, bias)
    else:
        t = first + (stop - first) * _quantiles(kind, weight, bias)
        t = STEPS * shift * t / ((shift - 1) * t + STEPS)
        p = np.bincount(np.minimum(t.astype(int), STEPS - 1), minlength=STEPS).astype(float)
    return DENSITIES.bind("curve", points=_as_curve(p / p.sum(), zero_terminal))


def _quantiles(kind: str, weight: float, bias: float) -> Array:
    """Values in 0..1 at evenly spaced probabilities."""
    u = (np.arange(GRID) + 0.5) / GRID
    match kind:
        case "LOGIT_NORMAL":
            coarse = np.linspace(0.5 / GRID, 1 - 0.5 / GRID, 4001)
            normal = np.interp(u, coarse, [NormalDist().inv_cdf(x) for x in coarse])
            return 1 / (1 + np.exp(-(bias + (weight + 1) * normal)))
        case "HEAVY_TAIL":
            return np.clip(1 - u - weight * (np.cos(np.pi / 2 * u) ** 2 - 1 + u), 0, 1)
        case "BETA" if abs(bias - 1) < 1e-5:
            return u ** (1 / max(1e-4, weight))
        case "BETA" if abs(weight - 1) < 1e-5:
            return 1 - u ** (1 / max(1e-4, bias))
        case "BETA":
            raise UserError(
                "BETA with neither parameter 1 has no closed form; set noising_bias to 1, as its paper does."
            )
    return u  # UNIFORM, before a shift


def _listed(kind: str, count: int, shift: float, weight: float, bias: float) -> Array:
    """Weights of the steps, as the program lists them for its draw."""
    x = np.linspace(0, 1, count)
    stretched = x / (shift - shift * x + x)
    slope = shift / (shift + x - x * shift) ** 2
    match kind:
        case "COS_MAP":
            return 2 / (np.pi - 2 * np.pi * stretched + 2 * np.pi * stretched**2) * slope
        case "SIGMOID":  # the shift is applied a second time, as in the program
            twice = stretched / (shift - shift * stretched + stretched)
            return 1 / (1 + np.exp(-weight * (twice - (bias + 0.5)))) * slope
    return np.maximum(-weight * (stretched - (bias + 0.5)) ** 2 + 2, 0) * slope


def _as_curve(p: Array, zero_terminal: bool) -> str:
    schedule = SCHEDULES.bind("sd")()
    log_snr = (zero_terminal_snr(schedule) if zero_terminal else schedule).log_snr
    nodes = np.where(np.isfinite(log_snr), log_snr, FLOOR_LOG_SNR)
    return ";".join(f"{x:.12g}/{y:.9g}" for x, y in zip(nodes[::-1], p[::-1], strict=True))


def _number(options: Mapping[str, Any], name: str, default: float) -> float:
    value = options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise UserError(f"{name} is {value!r}; it must be a number.")
    return float(value)
