"""Reader of diffusers' `scheduler_config.json`: noise schedule and prediction type.

Only keys that decide the training schedule are read; those for stepping through it when sampling are not.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from snrlab.core.arrays import Array
from snrlab.core.errors import UserError, unknown
from snrlab.core.regular_file import check_regular_file

_MAX_BYTES = 2**23
KEYS = (
    "_class_name",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "num_train_timesteps",
    "rescale_betas_zero_snr",
    "prediction_type",
    "shift",
    "use_dynamic_shifting",
)
BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace")
SCHEDULERS_WITHOUT_BETAS = ("EDM", "ScoreSde", "Karras", "CMStochastic", "VQDiffusion", "Amused")


@dataclass(frozen=True)
class SchedulerFacts:
    """The parts of a scheduler config that decide SNR(t) and the prediction type.

    Attributes:
        betas: noise variance by timestep, shape [T]; empty for flow matching.
        flow_sigmas: noise scale by timestep, shape [T]; None unless the config is of flow matching.
        zero_terminal_snr: whether the schedule is rescaled to SNR 0 at the last timestep.
        prediction_type: as the config states it; None if it does not.
    """

    betas: Array
    flow_sigmas: Array | None
    zero_terminal_snr: bool
    prediction_type: str | None


@dataclass(frozen=True)
class JsonText:
    """Marker of a parameter that holds a scheduler config; `check` inlines a file."""

    example: str = '{"beta_schedule":"linear","num_train_timesteps":1000}'

    def check(self, value: str) -> str:
        """The config as compact JSON with only the keys in KEYS, checked by parsing it."""
        config = _load(value)
        text = json.dumps({k: config[k] for k in KEYS if k in config}, separators=(",", ":"), sort_keys=True)
        parse_scheduler_config(text)
        return text


ConfigText = Annotated[str, JsonText()]


def parse_scheduler_config(text: str) -> SchedulerFacts:
    """Parse a scheduler config, given as a path or as JSON text.

    Raises:
        UserError: an unreadable file, invalid JSON, or an unsupported schedule.
    """
    config = _load(text)
    steps = _number(config, "num_train_timesteps", 1000, int)
    if steps < 2:
        raise UserError(f"scheduler config: num_train_timesteps is {steps}; it must be 2 or more.", code="out-of-range")
    kind = str(config.get("_class_name", ""))
    if kind.startswith(SCHEDULERS_WITHOUT_BETAS):
        raise UserError(
            f"scheduler config: {kind} has no table of training noise levels to read.", code="not-supported"
        )
    flow = kind.startswith("FlowMatch")
    prediction_type = "flow_prediction" if flow else config.get("prediction_type")
    return SchedulerFacts(
        betas=np.empty(0) if flow else _betas(config, steps),
        flow_sigmas=_flow_sigmas(config, steps) if flow else None,
        zero_terminal_snr=bool(config.get("rescale_betas_zero_snr", False)),
        prediction_type=prediction_type,
    )


def squared_cosine_betas(steps: int, offset: float = 0.008, max_beta: float = 0.999) -> Array:
    """beta_i = min(1 - f((i+1)/T) / f(i/T), max_beta), f(u) = cos^2((u + offset)/(1 + offset) pi/2)."""
    u = np.arange(steps + 1) / steps
    f = np.cos((u + offset) / (1 + offset) * np.pi / 2) ** 2
    return np.minimum(1 - f[1:] / f[:-1], max_beta)


def laplace_betas(steps: int, max_beta: float = 0.999) -> Array:
    """The `laplace` beta schedule of diffusers: f = sqrt(S/(1+S)), where ln S is the Laplace quantile at u."""
    u = np.arange(steps + 1) / steps
    log_snr = np.where(u <= 0.5, -0.5, 0.5) * np.log(1 - 2 * np.abs(0.5 - u) + 1e-6)
    f = np.sqrt(1 / (1 + np.exp(-log_snr)))
    return np.minimum(1 - f[1:] / f[:-1], max_beta)


def _load(text: str) -> dict[str, Any]:
    if not text.lstrip().startswith("{"):
        check_regular_file(Path(text), "scheduler config", _MAX_BYTES)
    try:
        raw = text if text.lstrip().startswith("{") else Path(text).read_text(encoding="utf-8")
        config = json.loads(raw)
    except (OSError, UnicodeDecodeError) as reason:
        raise UserError(
            f"scheduler config '{text}': the file cannot be read ({reason}).", code="unreadable-file"
        ) from None
    except (ValueError, RecursionError) as reason:
        raise UserError(f"scheduler config '{text}': it is not JSON ({reason}).", code="invalid-json") from None
    if not isinstance(config, dict):
        raise UserError("scheduler config: a JSON object is needed.", code="invalid-content")
    return config


def _betas(config: dict[str, Any], steps: int) -> Array:
    if config.get("trained_betas") is not None:
        betas = np.asarray(config["trained_betas"], dtype=np.float64)
        if betas.ndim != 1 or not ((betas > 0) & (betas < 1)).all():
            raise UserError(
                "scheduler config: trained_betas must be a list of numbers between 0 and 1.", code="out-of-range"
            )
        return betas
    start = _number(config, "beta_start", 1e-4, float)
    end = _number(config, "beta_end", 0.02, float)
    if not 0 < start <= end < 1:
        raise UserError(
            f"scheduler config: beta_start {start} and beta_end {end} must be 0 < start <= end < 1.",
            code="out-of-range",
        )
    match config.get("beta_schedule", "linear"):
        case "linear":
            return np.linspace(start, end, steps)
        case "scaled_linear":
            return np.linspace(start**0.5, end**0.5, steps) ** 2
        case "squaredcos_cap_v2":
            return squared_cosine_betas(steps)
        case "laplace":
            return laplace_betas(steps)
        case "sigmoid":
            return start + (end - start) / (1 + np.exp(-np.linspace(-6, 6, steps)))
        case other:
            raise unknown("scheduler config: beta_schedule", other, BETA_SCHEDULES)


def _flow_sigmas(config: dict[str, Any], steps: int) -> Array:
    if config.get("use_dynamic_shifting"):
        raise UserError(
            "scheduler config: use_dynamic_shifting makes the schedule depend on the resolution; "
            "use rectified_flow with the shift of your resolution instead.",
            code="not-supported",
        )
    shift = _number(config, "shift", 1.0, float)
    if shift <= 0:
        raise UserError(f"scheduler config: shift is {shift}; it must be > 0.", code="out-of-range")
    u = np.arange(1, steps + 1) / steps
    return shift * u / (1 + (shift - 1) * u)


def _number(config: dict[str, Any], key: str, default: float, kind: type) -> Any:
    value = config.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise UserError(f"scheduler config: {key} is {value!r}; it must be a number.", code="not-a-number")
    return kind(value)
