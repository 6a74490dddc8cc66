"""Zones of noise that have a name in everyday words, and how much of the training goes to each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snrlab.core.arrays import Array
from snrlab.core.bands import EDGES

# lowest SNR of each zone; the last but one ends at t = 800 of Stable Diffusion's schedule
ZONES: Mapping[str, float] = {
    "fine detail": EDGES[0],
    "shapes": EDGES[1],
    "layout and colours": 1 / 26,
    "almost pure noise": 0.0,
}
DETAIL, NOISE = "fine detail", "almost pure noise"


@dataclass(frozen=True)
class Zone:
    """A zone of a schedule.

    Attributes:
        name: one of ZONES.
        timesteps: its timesteps in words, such as `t >= 800`; empty if the schedule has none there.
        share: share of the training that goes to it, 0 to 1.
    """

    name: str
    timesteps: str
    share: float


def zones(snr: Array, share: Array) -> tuple[Zone, ...]:
    """The zones of a schedule with the summed shares of their timesteps, cleanest first.

    Args:
        snr: SNR of each timestep [T].
        share: share of each timestep in the training [T].
    """
    index = np.sum(snr[:, None] < np.array(list(ZONES.values())), axis=1)
    members = {name: np.flatnonzero(index == i) for i, name in enumerate(ZONES)}
    return tuple(Zone(name, _timesteps(at, len(snr)), float(share[at].sum())) for name, at in members.items())


def _timesteps(at: NDArray[np.intp], total: int) -> str:
    if not len(at):
        return ""
    first, last = int(at[0]), int(at[-1])
    if last == total - 1:
        return f"t >= {first}"
    return f"t < {last + 1}" if first == 0 else f"t {first} to {last}"
