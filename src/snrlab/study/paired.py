"""Paired differences over training seeds: interval, exact test, what another seed would show, what could be seen.

A difference is the logarithm of a ratio, arm over baseline, of one seed; effects are given in per cent. The unit is the
training seed: pictures and noise levels are nested in it, and more of them do not make more seeds (arXiv:2606.20536).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from snrlab.core.arrays import Array
from snrlab.core.errors import UserError
from snrlab.installation import install_command

ALPHA = 0.05  # share of studies without any difference that may end in `better` or `worse`
POWER = 0.8  # chance of seeing a difference that is called detectable
_MOST_SEEDS = 1000  # beyond which no number is given
_MIDPOINTS = (np.arange(2000) + 0.5) / 2000  # quantiles over which the power is averaged

VerdictWord = Literal["better", "worse", "equivalent", "inconclusive"]


@dataclass(frozen=True)
class PairedResult:
    """What n paired differences say; effects are in per cent of the arm compared with, below 0 is better.

    Attributes:
        pairs: number of training seeds, n.
        effect, low, high: mean and interval.
        p: of the paired t test, two-sided.
        p_sign_flip: of the exact sign-flip test, two-sided, which assumes no normal distribution.
        better_next: probability that the arm is better for a new seed.
        detectable: smallest effect that n seeds see with a chance of 80 %.
        seeds_needed: seeds at which the observed effect would be seen with a chance of 80 %; None above a thousand.
    """

    pairs: int
    effect: float
    low: float
    high: float
    p: float
    p_sign_flip: float
    better_next: float
    detectable: float
    seeds_needed: int | None


def paired_result(differences: Array, alpha: float = ALPHA) -> PairedResult:
    """Evaluate paired differences.

    Args:
        differences: logarithms of ratios [n], n >= 2.
        alpha: error probability of interval and detectable effect: 0.05 divided by the number of looks.

    Raises:
        UserError: scipy is not installed.
    """
    stats = _scipy_stats()
    n, mean, spread = len(differences), float(differences.mean()), float(differences.std(ddof=1))
    error = spread / n**0.5
    half = float(stats.t.ppf(1 - alpha / 2, n - 1)) * error
    if spread == 0:
        p, better = (1.0, 0.5) if mean == 0 else (0.0, float(mean < 0))
    else:
        p = float(stats.ttest_1samp(differences, 0.0).pvalue)
        better = float(stats.t.cdf(-mean / (spread * (1 + 1 / n) ** 0.5), n - 1))
    return PairedResult(
        n,
        as_percent(mean),
        as_percent(mean - half),
        as_percent(mean + half),
        p,
        sign_flip_p(differences),
        better,
        as_percent(detectable_effect(spread, n, alpha)),
        seeds_needed(mean, spread, alpha),
    )


def sign_flip_p(differences: Array) -> float:
    """Two-sided p of the sign-flip test on the mean; exact up to 16 pairs, else from 100,000 random flips.

    >>> sign_flip_p(np.array([-0.1, -0.2, -0.1, -0.3, -0.2, -0.1]))  # six of six: 2 / 64
    0.03125
    """
    stats = _scipy_stats()
    exact = len(differences) <= 16
    test = stats.permutation_test(
        (differences,),
        lambda values, axis: np.mean(values, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf if exact else 100_000,
        batch=4096,
        rng=np.random.default_rng(0),
    )
    return float(test.pvalue)


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's adjustment: p values that may each be held against the error probability of all together.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(ps, kind="stable")
    adjusted, highest = [0.0] * len(ps), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = highest
    return adjusted


def verdict_word(result: PairedResult, adjusted_p: float, margin: float, alpha: float = ALPHA) -> VerdictWord:
    """The verdict: equivalent if the interval lies inside the margin, else a direction if the adjusted p allows one.

    Args:
        result: of a primary contrast.
        adjusted_p: its p after Holm's adjustment over the primary contrasts.
        margin: per cent, stated before the study.
        alpha: error probability of this look.
    """
    inside = -margin < result.low and result.high < margin
    if inside:
        return "equivalent"
    if adjusted_p <= alpha:
        return "better" if result.effect < 0 else "worse"
    return "inconclusive"


def detectable_effect(spread: float, n: int, alpha: float = ALPHA) -> float:
    """The smallest mean difference that n pairs of this standard deviation see with a chance of 80 %."""
    return spread * _detectable_in_deviations(n, alpha)


def seeds_needed(effect: float, spread: float, alpha: float = ALPHA) -> int | None:
    """The fewest pairs that see a mean difference with a chance of 80 %; None for more than a thousand."""
    if effect == 0 or _power(abs(effect) / spread if spread else np.inf, _MOST_SEEDS, alpha) < POWER:
        return None
    low, high = 2, _MOST_SEEDS
    while low < high:
        middle = (low + high) // 2
        low, high = (
            (low, middle) if _power(abs(effect) / (spread or 1e-300), middle, alpha) >= POWER else (middle + 1, high)
        )
    return low


def as_percent(log_ratio: float) -> float:
    """A logarithm of a ratio as a change in per cent."""
    return 100 * float(np.expm1(log_ratio))


@lru_cache(maxsize=256)
def _detectable_in_deviations(n: int, alpha: float) -> float:
    from scipy.optimize import brentq

    return float(brentq(lambda effect: _power(effect, n, alpha) - POWER, 0.0, 1000.0))


@lru_cache(maxsize=256)
def _needed_ratios(n: int, alpha: float) -> Array:
    """How many true standard errors a mean has to reach, at the quantiles of the estimated variance."""
    stats = _scipy_stats()
    critical = stats.t.ppf(1 - alpha / 2, n - 1)
    return np.asarray(critical * np.sqrt(stats.chi2.ppf(_MIDPOINTS, n - 1) / (n - 1)))


def _power(standardised: float, n: int, alpha: float) -> float:
    """The chance that a two-sided t test of n pairs sees a mean of so many standard deviations.

    The mean over the chi-squared distribution of the estimated variance; scipy's noncentral t fails for few pairs.
    """
    stats = _scipy_stats()
    needed, shift = _needed_ratios(n, alpha), standardised * n**0.5
    return float(np.mean(stats.norm.sf(needed - shift) + stats.norm.cdf(-needed - shift)))


def _scipy_stats() -> Any:  # a module, imported late: it takes a second
    try:
        from scipy import stats
    except ImportError:
        raise UserError(
            f"a study's statistics need the package scipy: {install_command('study')}", code="missing-package"
        ) from None
    return stats
