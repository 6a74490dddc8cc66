"""Noise schedules: the amounts of signal and noise at each timestep.

    x_t = alpha_t x0 + sigma_t eps          x0: clean sample, eps ~ N(0, I)
    SNR = alpha^2 / sigma^2,  log_snr = ln SNR
    variance preserving: alpha = sqrt(abar), sigma = sqrt(1 - abar);  abar = alphas_cumprod
    linear (rectified flow): alpha = 1 - sigma

Timestep 0 is the cleanest, T - 1 the noisiest. Everything is float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Le, Lt

from snrlab.core import scheduler_config as diffusers_config
from snrlab.core.arrays import Array
from snrlab.core.errors import UserError
from snrlab.core.registries.registry import Choice, Properties, Registry

Path = Literal["variance_preserving", "linear"]
SCHEDULES = Registry("schedule", properties=Properties)
Steps = Annotated[int, Ge(2), Le(100_000)]


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """A noise schedule as a table over timesteps.

    Attributes:
        alphas_cumprod: SNR / (1 + SNR) for each timestep, shape [T], strictly decreasing, within
            (0, 1); only the last may be 0. For a variance-preserving schedule this is the product
            of (1 - beta) that diffusers calls by the same name.
        path: rule by which alpha and sigma follow from the SNR.
    """

    alphas_cumprod: Array
    path: Path = "variance_preserving"

    def __post_init__(self) -> None:
        """Check the table (UserError)."""
        a = self.alphas_cumprod
        if a.ndim != 1 or len(a) < 2 or not np.isfinite(a).all():
            raise UserError(
                "schedule: alphas_cumprod must be a list of at least two finite numbers.", code="out-of-range"
            )
        if not (np.diff(a) < 0).all() or a[0] >= 1 or a[-1] < 0:
            raise UserError(
                "schedule: alphas_cumprod must fall strictly from below 1 to 0 or more.", code="out-of-range"
            )
        a.setflags(write=False)

    @property
    def num_train_timesteps(self) -> int:
        """Number of timesteps T."""
        return len(self.alphas_cumprod)

    @cached_property
    def snr(self) -> Array:
        """Signal-to-noise ratio alpha^2 / sigma^2, shape [T]; 0 where there is no signal."""
        return self.alphas_cumprod / (1 - self.alphas_cumprod)

    @cached_property
    def log_snr(self) -> Array:
        """Natural logarithm of the SNR, shape [T]; -inf where the SNR is 0."""
        with np.errstate(divide="ignore"):
            return np.log(self.alphas_cumprod) - np.log1p(-self.alphas_cumprod)

    @cached_property
    def alpha(self) -> Array:
        """Scale of the signal in x_t, shape [T]."""
        root = np.sqrt(self.alphas_cumprod)
        return root if self.path == "variance_preserving" else root / (root + np.sqrt(1 - self.alphas_cumprod))

    @cached_property
    def sigma(self) -> Array:
        """Scale of the noise in x_t, shape [T] (not the sigma / alpha that EDM calls sigma)."""
        root = np.sqrt(1 - self.alphas_cumprod)
        return root if self.path == "variance_preserving" else root / (root + np.sqrt(self.alphas_cumprod))

    @property
    def terminal_snr_is_zero(self) -> bool:
        """Whether the last timestep is pure noise."""
        return bool(self.alphas_cumprod[-1] == 0)

    def crossing(self, snr: float) -> int | None:
        """The first timestep whose SNR is below `snr`, or None if there is none after timestep 0."""
        below = np.flatnonzero(self.snr < snr)
        return int(below[0]) if len(below) and below[0] > 0 else None


def from_betas(betas: Array) -> NoiseSchedule:
    """The variance-preserving schedule with these noise variances by timestep, shape [T]."""
    return NoiseSchedule(np.cumprod(1 - betas, dtype=np.float64))


def zero_terminal_snr(schedule: NoiseSchedule) -> NoiseSchedule:
    """Shift and stretch sqrt(abar) so that the last timestep has no signal and the first is unchanged.

    Source: arXiv:2305.08891, algorithm 1, as in diffusers' `rescale_zero_terminal_snr`.

    Raises:
        UserError: the schedule is not variance preserving, so the transform has no meaning.
    """
    if schedule.path != "variance_preserving":
        raise UserError(
            "zero_terminal_snr applies to variance-preserving schedules; rectified flow does not need it.",
            code="conflicting-options",
        )
    if schedule.terminal_snr_is_zero:
        return schedule
    root = np.sqrt(schedule.alphas_cumprod)
    rescaled = ((root - root[-1]) * (root[0] / (root[0] - root[-1]))) ** 2
    rescaled[0] = schedule.alphas_cumprod[0]  # exact: a square root and a square may change the last bit
    return NoiseSchedule(rescaled)


def recognise_schedule(schedule: NoiseSchedule) -> tuple[Choice, bool] | None:
    """(registered schedule with this table, whether it is rescaled to zero terminal SNR), with default parameters.

    None if no entry matches to a relative 1e-6.
    """
    for entry in SCHEDULES.values():
        if any(p.required for p in entry.parameters.values()):
            continue
        choice = entry.bind()
        plain: NoiseSchedule = choice()
        if plain.path == schedule.path and plain.num_train_timesteps == schedule.num_train_timesteps:
            rescaled = schedule.terminal_snr_is_zero and schedule.path == "variance_preserving"
            table = zero_terminal_snr(plain) if rescaled else plain
            if np.allclose(table.alphas_cumprod, schedule.alphas_cumprod, rtol=1e-6, atol=1e-12):
                return choice, rescaled
    return None


@SCHEDULES.register(
    paper="arXiv:2112.10752", formula="beta = (sqrt(0.00085) + (sqrt(0.012) - sqrt(0.00085))*t/(T - 1))**2"
)
def sd(*, num_train_timesteps: Steps = 1000) -> NoiseSchedule:
    """Stable Diffusion 1.5, 2 and XL: sqrt(beta) linear from sqrt(0.00085) to sqrt(0.012).

    >>> [round(float(sd().snr[t]), 6) for t in (0, 999)]
    [1175.470588, 0.004682]
    """
    return from_betas(np.linspace(0.00085**0.5, 0.012**0.5, num_train_timesteps, dtype=np.float64) ** 2)


@SCHEDULES.register(paper="arXiv:2006.11239", formula="beta = 0.0001 + (0.02 - 0.0001)*t/(T - 1)")
def ddpm_linear(*, num_train_timesteps: Steps = 1000) -> NoiseSchedule:
    """DDPM: beta linear from 1e-4 to 0.02.

    >>> round(float(ddpm_linear().snr[0]), 6)
    9999.0
    """
    return from_betas(np.linspace(1e-4, 0.02, num_train_timesteps))


@SCHEDULES.register(
    paper="arXiv:2102.09672",
    formula="beta = min(1 - f((t + 1)/T)/f(t/T), max_beta); f(u) = cos(pi/2*(u + offset)/(1 + offset))**2",
)
def cosine(
    *,
    offset: Annotated[float, Ge(0), Le(1)] = 0.008,
    max_beta: Annotated[float, Gt(0), Lt(1)] = 0.999,
    num_train_timesteps: Steps = 1000,
) -> NoiseSchedule:
    """Improved DDPM: abar follows cos^2((u + offset) / (1 + offset) pi/2), each beta at most max_beta.

    >>> cosine().crossing(1.0)
    496
    """
    return from_betas(diffusers_config.squared_cosine_betas(num_train_timesteps, offset, max_beta))


@SCHEDULES.register(paper="arXiv:2403.03206", formula="sigma = shift*u/(1 + (shift - 1)*u); u = (t + 1/2)/T")
def rectified_flow(
    *, shift: Annotated[float, Gt(0), Le(100)] = 1.0, num_train_timesteps: Steps = 1000
) -> NoiseSchedule:
    """Rectified flow: sigma = shift u / (1 + (shift - 1) u) at u = (t + 1/2) / T.

    >>> s = rectified_flow(shift=3.0, num_train_timesteps=2)
    >>> s.sigma.round(6)
    array([0.5, 0.9])
    """
    u = (np.arange(num_train_timesteps) + 0.5) / num_train_timesteps
    return from_flow_sigmas(shift * u / (1 + (shift - 1) * u))


def from_flow_sigmas(sigmas: Array) -> NoiseSchedule:
    """The linear path with these noise scales (rising, within (0, 1]), shape [T]."""
    signal, noise = (1 - sigmas) ** 2, sigmas**2
    return NoiseSchedule(signal / (signal + noise), path="linear")


@SCHEDULES.register(paper="diffusers, scheduler_config.json", formula="beta = config(t)")
def scheduler_config(*, config: diffusers_config.ConfigText) -> NoiseSchedule:
    """The schedule that a diffusers `scheduler_config.json` describes (`config`: the file, or its JSON).

    >>> text = '{"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}'
    >>> bool(np.array_equal(scheduler_config(config=text).snr, sd().snr))
    True
    """
    parsed = diffusers_config.parse_scheduler_config(config)
    if parsed.flow_sigmas is not None:
        return from_flow_sigmas(parsed.flow_sigmas)
    schedule = from_betas(parsed.betas)
    return zero_terminal_snr(schedule) if parsed.zero_terminal_snr else schedule
