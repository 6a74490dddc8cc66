"""Options of kohya sd-scripts that make up a recipe, checked and with their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from snrlab.core.errors import UserError

STEPS = 1000
SQUARED = "l2"  # the loss_type of the program's default
RECIPE_OPTIONS = (
    "v_parameterization", "zero_terminal_snr", "min_snr_gamma", "debiased_estimation_loss",
    "scale_v_pred_loss_like_noise_pred", "v_pred_like_loss", "ip_noise_gamma", "ip_noise_gamma_random_strength",
    "noise_offset", "noise_offset_random_strength", "adaptive_noise_scale", "multires_noise_iterations",
    "multires_noise_discount", "min_timestep", "max_timestep", "loss_type",
)  # fmt: skip


class KohyaSettings:
    """Options that make up a recipe, with the program's defaults for those that are not stated."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        """Read the options (UserError for a value of the wrong type)."""
        self._options = options
        self.v = self.flag("v_parameterization")
        self.zero_terminal = self.flag("zero_terminal_snr")
        self.min_snr = self.number("min_snr_gamma")  # 0 switches it off, as none does
        self.debiased = self.flag("debiased_estimation_loss")
        self.scale_v = self.flag("scale_v_pred_loss_like_noise_pred")
        self.v_like = self.number("v_pred_like_loss")
        self.ip_gamma = self.number("ip_noise_gamma")
        self.ip_random = self.flag("ip_noise_gamma_random_strength")
        self.noise_offset = self.number("noise_offset")
        self.offset_random = self.flag("noise_offset_random_strength")
        self.adaptive = self.number("adaptive_noise_scale")
        self.multires = self.number("multires_noise_iterations")
        self.discount = self.number("multires_noise_discount") or 0.3
        self.loss = str(options.get("loss_type") or SQUARED)
        self.first = int(self.number("min_timestep") or 0)
        last = self.number("max_timestep")
        self.stop = STEPS if last is None else int(last)

    @property
    def offset(self) -> dict[str, Any]:
        """Parameters of the noise offset; empty where it is off."""
        if self.noise_offset is None:
            return {}
        return {"strength": self.noise_offset, "random_strength": self.offset_random, "adaptive_scale": self.adaptive}

    @property
    def pyramid(self) -> dict[str, Any]:
        """Parameters of multires noise; empty where it is off."""
        return {} if self.multires is None else {"iterations": int(self.multires), "discount": self.discount}

    def flag(self, name: str) -> bool:
        """Whether a switch is on."""
        value = self._options.get(name, False)
        if not isinstance(value, bool):
            raise UserError(f"{name} is {value!r}; it must be true or false.", code="wrong-type")
        return value

    def number(self, name: str) -> float | None:
        """Value of a number; None where it is not stated or is 0, which the program treats the same."""
        value = self._options.get(name)
        if value is None or value == "":
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
            raise UserError(f"{name} is {value!r}; it must be a number.", code="not-a-number")
        return float(value) or None

    def is_stated(self, name: str) -> bool:
        """Whether the source states the option."""
        return name in self._options
