"""Profile of a network's losses and gradients by noise level, and what a recipe makes of them.

The share of weight says how often and how strongly a recipe asks for a noise level. What the level contributes to the
loss and to the gradient also depends on how wrong the network is there, which falls steeply towards noise. Hence three
shares: of weight, of loss and of gradient energy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from snrlab.core.arrays import Array
from snrlab.core.bands import BANDS, band_of
from snrlab.core.prediction import gain
from snrlab.core.recipe import Tables
from snrlab.lab.asset_files import read_asset

SHARES = ("weight", "loss", "gradient")
FIFTHS = 5


@dataclass(frozen=True, eq=False)
class Profile:
    """Losses and gradients measured at noise levels, cleanest first.

    Attributes:
        description: the network and data that were measured, in words.
        log_snr: log-SNR of the levels [L].
        epsilon_error: unweighted mean squared error of the noise estimate [L].
        gradient_energy: squared norm of that loss' gradient for one image [L].
    """

    description: str
    log_snr: Array
    epsilon_error: Array
    gradient_energy: Array

    def at(self, log_snr: Array) -> tuple[Array, Array]:
        """(epsilon error, gradient energy of the epsilon loss) at each log-SNR, interpolated in logarithms.

        Beyond the noisiest measured level both follow the SNR, as those of an ideal denoiser do towards pure noise.
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
    """Profile of the small model that ships, measured by scripts/measure_profile.py."""
    content = json.loads(read_asset("profile.json"))
    return Profile(content["of"], *(np.array(content[k]) for k in ("log_snr", "epsilon_error", "gradient_energy")))


def ideal_profile(log_snr: Array) -> Profile:
    """Profile of the best possible denoiser of unit Gaussian data: epsilon error and gradient energy S / (1 + S)."""
    snr = np.exp(log_snr[np.isfinite(log_snr)])
    error = snr / (1 + snr)
    return Profile("an ideal denoiser of unit Gaussian data", np.log(snr), error, error)


def shares(tables: Tables, profile: Profile) -> Mapping[str, Array]:
    """Share of each timestep in the summed weight, loss and gradient energy, each [T] with sum 1."""
    error, energy = _network_loss(tables, profile)
    weight = np.where(tables.p > 0, tables.weight, 0.0)  # it may be infinite where p is 0
    parts = (tables.p * weight, tables.p * weight * error, tables.p * weight**2 * energy)
    return {name: part / part.sum() for name, part in zip(SHARES, parts, strict=True)}


def expected_loss(tables: Tables, profile: Profile) -> float:
    """The mean weighted loss that a run of this recipe would log."""
    weight = np.where(tables.p > 0, tables.weight, 0.0)
    return float(np.sum(tables.p * weight * _network_loss(tables, profile)[0]))


def gradient_size(tables: Tables, profile: Profile) -> float:
    """Root of the expected gradient energy: what a learning rate multiplies, up to the network's own scale."""
    weight = np.where(tables.p > 0, tables.weight, 0.0)
    return float(np.sqrt(np.sum(tables.p * weight**2 * _network_loss(tables, profile)[1])))


def _network_loss(tables: Tables, profile: Profile) -> tuple[Array, Array]:
    """Error and gradient energy of the network's own unweighted loss, each [T].

    For other prediction types, an error of the same size at the network's output is assumed to have a gradient of the
    same size as in the epsilon loss.
    """
    finite = np.isfinite(tables.log_snr)
    error, energy = np.zeros_like(tables.p), np.zeros_like(tables.p)
    error[finite], energy[finite] = profile.at(tables.log_snr[finite])
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = gain(tables.prediction_type, tables.log_snr) / gain("epsilon", tables.log_snr)
        converted = error * factor, energy * factor
    for values in converted:  # without signal, epsilon error / SNR tends to the last finite ratio
        values[~finite] = values[finite][-1]
    return converted


def shares_by_fifth(share: Array) -> list[float]:
    """Shares summed over fifths of the timesteps, cleanest first."""
    return [float(part.sum()) for part in np.array_split(share, FIFTHS)]


def shares_by_band(share: Array, snr: Array) -> dict[str, float]:
    """Shares summed over the SNR bands, by name."""
    bands = band_of(snr)
    return {name: float(share[bands == i].sum()) for i, name in enumerate(BANDS)}
