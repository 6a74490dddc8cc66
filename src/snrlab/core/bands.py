"""SNR bands: the coarse noise levels by which losses are reported."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

EDGES = (5.0, 1.0, 0.1)
BANDS = ("SNR >= 5", "5 > SNR >= 1", "1 > SNR >= 0.1", "0.1 > SNR")
_MOST, _MIDDLE, _LEAST = EDGES
BAND_WORDS = {  # for readers, by band
    BANDS[0]: f"little noise (SNR {_MOST:g} and more)",
    BANDS[1]: f"some noise (SNR {_MIDDLE:g} to {_MOST:g})",
    BANDS[2]: f"much noise (SNR {_LEAST:g} to {_MIDDLE:g})",
    BANDS[3]: f"almost only noise (SNR below {_LEAST:g})",
}


def band_of(snr: NDArray[np.float64]) -> NDArray[np.int64]:
    """Index into BANDS for each SNR, same shape.

    >>> band_of(np.array([9.0, 5.0, 0.5, 0.0]))
    array([0, 0, 2, 3])
    """
    return np.sum(np.asarray(snr)[..., None] < np.array(EDGES), axis=-1)


def band_means(snr: NDArray[np.float64], value: NDArray[np.float64]) -> dict[str, float | None]:
    """Mean of `value` in each band; None for a band without a value."""
    index = band_of(snr)
    return {name: float(np.mean(value[index == i])) if (index == i).any() else None for i, name in enumerate(BANDS)}
