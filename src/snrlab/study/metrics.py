"""What a study measures of a cell, from its run folder alone. Lower is better for every metric here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from snrlab.core.bands import BAND_WORDS, BANDS
from snrlab.runs.logs import ValidationLine


@dataclass(frozen=True)
class Metric:
    """A number of a measurement on held-out images.

    Attributes:
        label: its name for readers.
        of: the number of one measurement; None where the measurement does not have it.
    """

    label: str
    of: Callable[[ValidationLine], float | None]


def _mean_error(line: ValidationLine) -> float:
    return float(np.mean([np.mean(errors) for errors in line["errors"].values()]))


def _band_error(band: str) -> Callable[[ValidationLine], float | None]:
    return lambda line: float(np.mean(line["errors"][band])) if band in line["errors"] else None


METRICS: Mapping[str, Metric] = {
    "held_out_loss": Metric("held-out loss", _mean_error),
    **{
        f"held_out_loss_{number}": Metric(f"held-out loss at {BAND_WORDS[band]}", _band_error(band))
        for number, band in enumerate(BANDS, 1)
    },
}
