"""A recipe: everything that decides how training effort is spread over noise levels, as one value."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snrlab.core.arrays import Array
from snrlab.core.errors import UserError, unknown
from snrlab.core.perturbation import PerturbationProperties, loss_floor
from snrlab.core.prediction import PREDICTION_TYPES, PredictionType, gain
from snrlab.core.registries.registry import Choice
from snrlab.core.registries.tensor_registries import NoiseProperties
from snrlab.core.schedule import SCHEDULES, NoiseSchedule, zero_terminal_snr
from snrlab.core.stages import Stage, refuse_impossible_stages
from snrlab.core.timesteps.density import DENSITIES, DensityProperties
from snrlab.core.timesteps.timestep_sampling import SAMPLINGS, SamplingProperties
from snrlab.core.weights.loss_weight import ProductOn, limit_weight, loss_weight
from snrlab.core.weights.weighting import WeightingProperties

RARE_PROBABILITY = 1e-7  # a timestep drawn with less counts as never drawn


@dataclass(frozen=True)
class Recipe:
    """Recipe: schedule x prediction type x density x weighting x perturbation x noise shape.

    Attributes:
        schedule: bound entry of SCHEDULES.
        zero_terminal_snr: rescale the schedule so that its last timestep has no signal.
        prediction_type: what the network outputs.
        weighting: bound entries of WEIGHTINGS, multiplied; empty is the plain loss.
        product_on: where several weightings multiply, relative to plain epsilon or on the network's loss.
        max_weight, min_weight: limits on the weight of the network's own loss, in this order.
        normalize: scale the weight to mean 1 under the density.
        density: bound entry of DENSITIES; it changes the objective.
        sampling: bound entry of SAMPLINGS, how timesteps are drawn from the density; it does not.
        perturbation: bound entry of PERTURBATIONS, or None.
        noise: bound entry of NOISES, or None for Gaussian noise.
        stages: changes during training; the other fields are the values at step 0.
    """

    schedule: Choice = field(default_factory=lambda: SCHEDULES.bind("sd"))
    zero_terminal_snr: bool = False
    prediction_type: PredictionType = "epsilon"
    weighting: tuple[Choice[WeightingProperties], ...] = ()
    product_on: ProductOn = "epsilon"
    max_weight: float | None = None
    min_weight: float | None = None
    normalize: bool = False
    density: Choice[DensityProperties] = field(default_factory=lambda: DENSITIES.bind("uniform"))
    sampling: Choice[SamplingProperties] = field(default_factory=lambda: SAMPLINGS.bind("stratified"))
    perturbation: Choice[PerturbationProperties] | None = None
    noise: Choice[NoiseProperties] | None = None
    stages: tuple[Stage, ...] = ()

    def __post_init__(self) -> None:
        """Check the values (UserError)."""
        if self.prediction_type not in PREDICTION_TYPES:
            raise unknown("prediction_type", self.prediction_type, PREDICTION_TYPES)
        if self.product_on not in ("epsilon", "network"):
            raise unknown("product_on", self.product_on, ("epsilon", "network"))
        if self.density.entry.properties.learns and self.sampling.entry.properties.learns:
            raise UserError(
                f"density {self.density.name} draws by the loss already: leave out sampling {self.sampling.name}.",
                code="conflicting-options",
            )
        refuse_impossible_stages(self.stages)
        for name, value in (("max_weight", self.max_weight), ("min_weight", self.min_weight)):
            if value is not None and not (value > 0 and np.isfinite(value)):
                raise UserError(f"{name} is {value}; it must be a number > 0.", code="out-of-range")
        if self.max_weight is not None and self.min_weight is not None and self.min_weight > self.max_weight:
            raise UserError(
                f"min_weight {self.min_weight} is above max_weight {self.max_weight}.", code="conflicting-options"
            )

    def by_stage(self) -> list[tuple[int, Recipe]]:
        """The recipe of each stage with the step that it starts at, the first at 0; none of them has stages."""
        recipes = [(0, replace(self, stages=()))]
        for stage in self.stages:
            recipes.append((stage.from_step, replace(recipes[-1][1], **stage.changes)))
        return recipes

    def noise_schedule(self) -> NoiseSchedule:
        """The table of the schedule, rescaled if zero_terminal_snr is set."""
        schedule: NoiseSchedule = self.schedule()
        return zero_terminal_snr(schedule) if self.zero_terminal_snr else schedule

    def tables(self) -> Tables:
        """The recipe by timestep: SNR, density, weights and perturbation in float64."""
        schedule = self.noise_schedule()
        log_snr, snr = schedule.log_snr, schedule.snr
        p = self.density(schedule)
        raw = loss_weight(self.weighting, log_snr, self.prediction_type, self.product_on)
        weight = limit_weight(raw, p, self.max_weight, self.min_weight, self.normalize)
        gamma = self.perturbation(log_snr) if self.perturbation else np.zeros_like(snr)
        with np.errstate(invalid="ignore"):  # inf x 0: an infinite weight, which is a finding, not a warning
            weight_x0 = weight * gain(self.prediction_type, log_snr)
        return Tables(
            schedule=schedule,
            prediction_type=self.prediction_type,
            t=np.arange(len(snr)),
            alphas_cumprod=schedule.alphas_cumprod,
            snr=snr,
            log_snr=log_snr,
            p=p,
            weight=weight,
            raw_weight=raw,
            weight_x0=weight_x0,
            ip_gamma=gamma,
            ip_floor=loss_floor(gamma, schedule.alphas_cumprod, self.prediction_type),
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a config or metadata: names, parameters and options; fields that are None are left out."""
        plain: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if value is not None and not (f.name == "stages" and not value):
                plain[f.name] = _plain(value)
        return plain


@dataclass(frozen=True, eq=False)
class Tables:
    """A recipe by timestep; every array has shape [T].

    Attributes:
        t: timesteps, 0 (cleanest) to T - 1.
        alphas_cumprod, snr, log_snr: signal fraction, signal-to-noise ratio and its natural logarithm.
        p: probability of drawing the timestep, sum 1.
        weight: multiplier on the network's own loss; `raw_weight` is the same before the limits.
        weight_x0: the same weight as a multiplier on the x0 error.
        ip_gamma: perturbation strength (rms); ip_floor: the part of the loss that it makes irreducible.
    """

    schedule: NoiseSchedule
    prediction_type: PredictionType
    t: NDArray[np.int64]
    alphas_cumprod: Array
    snr: Array
    log_snr: Array
    p: Array
    weight: Array
    raw_weight: Array
    weight_x0: Array
    ip_gamma: Array
    ip_floor: Array

    @property
    def plain(self) -> Tables:
        """The tables of plain training on the same schedule and prediction type: every timestep alike, weight 1."""
        ones, none = np.ones_like(self.p), np.zeros_like(self.p)
        return replace(
            self, p=ones / len(ones), weight=ones, raw_weight=ones, weight_x0=gain(self.prediction_type, self.log_snr),
            ip_gamma=none, ip_floor=none,
        )  # fmt: skip

    @property
    def weight_epsilon(self) -> Array:
        """The weight as a multiplier on the epsilon error: weight_x0 / SNR; nan where SNR = 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.snr > 0, self.weight_x0 / self.snr, np.nan)

    @property
    def rarely_drawn(self) -> NDArray[np.bool_]:
        """Whether p is below RARE_PROBABILITY (mostly 0), so that a run in effect never draws the timestep."""
        return self.p < RARE_PROBABILITY

    @property
    def effective_snr(self) -> Array:
        """SNR of the network's perturbed input: SNR / (1 + gamma^2)."""
        return self.snr / (1 + self.ip_gamma**2)

    def weight_share(self, space: str | None = None) -> Array:
        """Share of each timestep in the sum of p x weight, on the network's own loss or in `space`."""
        weight = self.weight if space is None else self.weight_x0 / gain(space, self.log_snr)
        mass = np.zeros_like(self.p)
        drawn = self.p > 0
        mass[drawn] = self.p[drawn] * weight[drawn]
        return mass / mass.sum()

    def emphasis(self, space: str | None = None) -> Array:
        """Effective emphasis p w / |d log_snr / dt|, scaled so that its area over log_snr is 1.

        nan at a timestep with SNR = 0, whose share has to be shown separately. To compare prediction
        types, use the space `v_prediction`, which is finite at both ends.
        """
        finite = np.isfinite(self.log_snr)
        density = np.full_like(self.p, np.nan)
        density[finite] = self.weight_share(space)[finite] / np.abs(np.gradient(self.log_snr[finite]))
        return density

    @property
    def mean_weight(self) -> float:
        """Mean of the weight under the density."""
        return self._mean(self.weight)

    @property
    def effective_sample_size(self) -> float:
        """(E w)^2 / E w^2 under the density, between 0 and 1: the fraction of a batch that effectively counts."""
        square = self._mean(self.weight**2)
        return self.mean_weight**2 / square if square > 0 else 0.0

    def _mean(self, values: Array) -> float:
        drawn = self.p > 0  # a value where nothing is drawn may be infinite
        return float(np.sum(self.p[drawn] * values[drawn]))

    def rows(self, timesteps: NDArray[np.int64] | list[int]) -> list[dict[str, Any]]:
        """One dict of plain numbers per timestep; None where a column has no finite value."""
        columns = {
            name: getattr(self, name)
            for name in (
                "alphas_cumprod", "snr", "log_snr", "p", "weight", "weight_epsilon", "weight_x0",
                "ip_gamma", "ip_floor", "effective_snr",
            )
        }  # fmt: skip
        columns["emphasis"] = self.emphasis()
        return [
            {"t": int(t), **{k: float(v[t]) if np.isfinite(v[t]) else None for k, v in columns.items()}}
            for t in timesteps
        ]


def _plain(value: Any) -> Any:
    if isinstance(value, Choice):
        return {"name": value.name, **value.params}
    if isinstance(value, Stage):
        return {"from_step": value.from_step, **{name: _plain(part) for name, part in value.changes.items()}}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
