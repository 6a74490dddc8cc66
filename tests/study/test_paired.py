"""The statistics of a study: known values, how often a verdict is false, how often a difference is seen."""

import numpy as np
import pytest
from scipy import stats

from snrlab.study.paired import (
    ALPHA,
    POWER,
    as_percent,
    detectable_effect,
    holm,
    paired_result,
    seeds_needed,
    sign_flip_p,
    verdict_word,
)


def test_interval_and_p_are_those_of_the_paired_t_test():
    effects = np.log([0.98, 0.99, 1.01, 0.97, 0.985, 0.995])
    result, test = paired_result(effects), stats.ttest_1samp(effects, 0.0)
    low, high = test.confidence_interval(0.95)
    assert result.p == pytest.approx(test.pvalue)
    assert (result.low, result.high) == pytest.approx((as_percent(low), as_percent(high)))
    assert result.effect == pytest.approx(as_percent(effects.mean()))
    assert result.low < result.effect < result.high


def test_an_effect_in_per_cent_is_that_of_the_values():
    assert as_percent(np.log(1.02)) == pytest.approx(2.0)
    assert paired_result(np.log([0.5, 0.5, 0.5])).effect == pytest.approx(-50.0)


@pytest.mark.parametrize(("pairs", "least"), [(3, 0.25), (5, 0.0625), (6, 0.03125), (8, 0.0078125)])
def test_the_sign_flip_test_is_exact(pairs, least):
    """The smallest two-sided p of n pairs is 2 / 2**n: six are the fewest that reach 0.05."""
    assert sign_flip_p(-np.arange(1.0, pairs + 1)) == least


def test_more_looks_make_wider_intervals():
    effects = np.random.default_rng(0).normal(size=8)
    once, twice = paired_result(effects, ALPHA), paired_result(effects, ALPHA / 2)
    assert twice.low < once.low < once.high < twice.high


def test_a_new_seed_is_predicted_with_the_spread_of_seeds():
    """Of normal differences the predicted share is, on average, the share of new ones that are below 0."""
    rng, predicted, seen = np.random.default_rng(1), [], []
    for _ in range(600):
        *effects, new = rng.normal(-0.5, 1.0, 9)
        predicted.append(paired_result(np.array(effects)).better_next > 0.5)
        seen.append(new < 0)
    assert np.mean(seen) == pytest.approx(stats.norm.cdf(0.5), abs=0.05)
    assert np.mean([p == s for p, s in zip(predicted, seen, strict=True)]) > 0.6


@pytest.mark.parametrize("pairs", [2, 3, 6, 10, 16])
def test_a_detectable_effect_is_seen_four_times_of_five(pairs):
    rng, effect = np.random.default_rng(pairs), detectable_effect(1.0, pairs)
    draws = rng.normal(effect, 1.0, (4000, pairs))
    seen = np.mean(stats.ttest_1samp(draws, 0.0, axis=1).pvalue <= ALPHA)
    assert seen == pytest.approx(POWER, abs=0.02)
    assert seeds_needed(1.001 * effect, 1.0) == pairs


def test_how_many_seeds_it_takes():
    assert seeds_needed(0.5, 1.0) == 34  # the textbook's paired design: d = 0.5, power 80 %, two-sided
    assert seeds_needed(0.0, 1.0) is None
    assert seeds_needed(0.001, 1.0) is None


def test_holm_is_never_smaller_and_keeps_the_order():
    ps = [0.03, 0.001, 0.2]
    adjusted = holm(ps)
    assert adjusted == pytest.approx([0.06, 0.003, 0.2])
    assert all(a >= p for a, p in zip(adjusted, ps, strict=True))
    assert holm([]) == []


@pytest.mark.parametrize(("contrasts", "studies"), [(1, 1000), pytest.param(3, 1000, marks=pytest.mark.long)])
def test_studies_without_a_difference_are_rarely_judged(contrasts, studies):
    """Studies whose arms are equal: `better` or `worse` in at most 5 % of them, within the binomial interval."""
    rng, false = np.random.default_rng(2026), 0
    for _ in range(studies):
        results = [paired_result(rng.normal(0.0, 0.01, 8)) for _ in range(contrasts)]
        words = [
            verdict_word(result, p, margin=0.001)
            for result, p in zip(results, holm([r.p for r in results]), strict=True)
        ]
        false += any(word in ("better", "worse") for word in words)
    assert false <= stats.binom.ppf(0.975, studies, ALPHA)
    assert false > 10, "a test that never judges would pass too"


def test_words():
    rng = np.random.default_rng(0)
    small, large = rng.normal(-0.0001, 0.0002, 8), rng.normal(-0.05, 0.005, 8)
    assert verdict_word(paired_result(small), 0.5, margin=1.0) == "equivalent"
    assert verdict_word(paired_result(large), 1e-5, margin=1.0) == "better"
    assert verdict_word(paired_result(-large), 1e-5, margin=1.0) == "worse"
    assert verdict_word(paired_result(rng.normal(0, 0.05, 8)), 0.5, margin=1.0) == "inconclusive"


def test_equal_differences_need_no_interval():
    result = paired_result(np.full(4, np.log(0.9)))
    assert (result.low, result.high) == pytest.approx((-10, -10))
    assert result.better_next == 1.0
    nothing = paired_result(np.zeros(4))
    assert (nothing.p, nothing.better_next, nothing.effect) == (1.0, 0.5, 0.0)
