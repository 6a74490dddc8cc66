import numpy as np
import pytest

from snrlab.lab.statistics import jackknife, mean


@pytest.mark.parametrize("method", [mean, lambda v, seed: jackknife(lambda rows: float(v[rows].mean()), len(v))])
def test_the_interval_covers_the_truth_as_often_as_it_says(method):
    covered = 0
    for seed in range(200):
        values = np.random.default_rng(seed).normal(3.0, 2.0, 120)
        interval = method(values, seed)
        covered += interval.low <= 3.0 <= interval.high
    assert 180 <= covered <= 199  # 95 % of 200, give or take


def test_the_interval_has_the_right_width():
    values = np.random.default_rng(0).normal(0, 1, 400)
    for interval in (mean(values), jackknife(lambda rows: float(values[rows].mean()), 400)):
        assert interval.high - interval.low == pytest.approx(2 * 1.96 / 20, rel=0.35)
        assert interval.value == pytest.approx(values.mean())
