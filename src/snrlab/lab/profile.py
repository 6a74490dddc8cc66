"""How large losses and gradients really are at each noise level, and what a recipe makes of them.

A weight's share says how often and how strongly a level is *asked* for. What a level contributes to the loss and to
the gradient also depends on how wrong the network is there, which falls steeply towards noise. Three shares, three
names: of weight, of loss, of gradient energy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

import numpy as np

from snrlab.core.arrays import Array
from snrlab.core.bands import BANDS, band_of
from snrlab.core.prediction import gain
from snrlab.core.recipe import Tables

SHARES = ("weight", "loss", "gradient")
FIFTHS = 5


@dataclass(frozen=True, eq=False)
class Profile:
    """Measured levels, cleanest first.

    Attributes:
        of: what was measured, in words.
        log_snr: of the levels [L].
        epsilon_error: unweighted mean squared error of the noise estimate [L].
        gradient_energy: squared norm of one picture's gradient of that loss [L].
    """

    of: str
    log_snr: Array
    epsilon_error: Array
    gradient_energy: Array

    def at(self, log_snr: Array) -> tuple[Array, Array]:
        """(epsilon error, gradient energy of the epsilon loss) at each log-SNR, by interpolating logarithms.

        Beyond the measured levels both follow SNR, as those of an ideal denoiser do towards pure noise.
        """
        order = np.argsort(self.log_snr)
        x = self.log_snr[order]
        below = np.minimum(log_snr - x[0], 0.0)  # log of how much less signal there is than at the last level
        error, energy = (
            np.exp(np.interp(log_snr, x, np.log(values[order])) + below)
            for values in (self.epsilon_error, self.gradient_energy)
        )
        return error, energy


def shipped_profile() -> Profile:
    """That of the small model that ships (scripts/measure_profile.py)."""
    text = resources.files("snrlab.lab").joinpath("assets", "profile.json").read_text(encoding="utf-8")
    facts = json.loads(text)
    return Profile(facts["of"], *(np.array(facts[k]) for k in ("log_snr", "epsilon_error", "gradient_energy")))


def ideal_profile(log_snr: Array) -> Profile:
    """That of the best possible denoiser on unit Gaussian data: epsilon error S / (1 + S), gradients as errors."""
    snr = np.exp(log_snr[np.isfinite(log_snr)])
    error = snr / (1 + snr)
    return Profile("an ideal denoiser of unit Gaussian data", np.log(snr), error, error)


def shares(tables: Tables, profile: Profile) -> Mapping[str, Array]:
    """Share of each timestep in the summed weight, loss and gradient energy, each [T] with sum 1."""
    own_error, own_energy = _own_loss(tables, profile)
    weight = np.where(tables.p > 0, tables.weight, 0.0)  # where nothing is drawn it may be infinite
    parts = (tables.p * weight, tables.p * weight * own_error, tables.p * weight**2 * own_energy)
    return {name: part / part.sum() for name, part in zip(SHARES, parts, strict=True)}


def expected_loss(tables: Tables, profile: Profile) -> float:
    """The weighted loss that a run of this recipe would log on average."""
    weight = np.where(tables.p > 0, tables.weight, 0.0)
    return float(np.sum(tables.p * weight * _own_loss(tables, profile)[0]))


def gradient_size(tables: Tables, profile: Profile) -> float:
    """Root of the expected gradient energy: what a learning rate multiplies, up to the network's own scale."""
    weight = np.where(tables.p > 0, tables.weight, 0.0)
    return float(np.sqrt(np.sum(tables.p * weight**2 * _own_loss(tables, profile)[1])))


def _own_loss(tables: Tables, profile: Profile) -> tuple[Array, Array]:
    """Error and gradient energy of the network's own unweighted loss, each [T].

    Gradients of another prediction type are taken as large, for an error of the same size at the network's output,
    as those of the epsilon loss.
    """
    finite = np.isfinite(tables.log_snr)
    error, energy = np.zeros_like(tables.p), np.zeros_like(tables.p)
    error[finite], energy[finite] = profile.at(tables.log_snr[finite])
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = gain(tables.prediction_type, tables.log_snr) / gain("epsilon", tables.log_snr)
        own = error * factor, energy * factor
    for values in own:  # without signal, epsilon error / SNR tends to the last finite ratio
        values[~finite] = values[finite][-1]
    return own


def shares_by_fifth(share: Array) -> list[float]:
    """Summed over fifths of the timesteps, cleanest first."""
    return [float(part.sum()) for part in np.array_split(share, FIFTHS)]


def shares_by_band(share: Array, snr: Array) -> dict[str, float]:
    """Summed over the SNR bands."""
    bands = band_of(snr)
    return {name: float(share[bands == i].sum()) for i, name in enumerate(BANDS)}
