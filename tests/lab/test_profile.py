"""Three shares of a noise level, which must not be taken for one another."""

import json

import numpy as np
import pytest

from snrlab.core.bands import BANDS
from snrlab.core.findings.recipe_findings import findings
from snrlab.core.recipe import Recipe
from snrlab.core.weights.weighting import WEIGHTINGS
from snrlab.lab.profile import (
    expected_loss,
    gradient_size,
    ideal_profile,
    shares,
    shares_by_band,
    shares_by_fifth,
    shipped_profile,
)
from snrlab.lab.recipe_text import parse_recipe
from test_scripts import script


def tables_of(text):
    return parse_recipe(text)[1].tables()


IDEAL = ideal_profile(Recipe().tables().log_snr)


def test_debiased_asks_most_where_least_can_be_lost():
    """The numbers of science.md and of the design: 58 % of the weight, 8 % of the loss, 31 % of the gradient energy."""
    last_fifths = {name: shares_by_fifth(share)[-1] for name, share in shares(tables_of("debiased"), IDEAL).items()}
    assert last_fifths["weight"] == pytest.approx(0.585, abs=1e-3)
    assert last_fifths["loss"] == pytest.approx(0.076, abs=2e-3)
    assert last_fifths["gradient"] == pytest.approx(0.314, abs=2e-3)


@pytest.mark.parametrize("profile", [IDEAL, shipped_profile()], ids=["ideal", "shipped"])
@pytest.mark.parametrize("text", ["plain", "min_snr", "v_prediction zero_terminal_snr", "sample debiased"])
def test_shares_are_shares(text, profile):
    tables = tables_of(text)
    for share in shares(tables, profile).values():
        assert share.sum() == pytest.approx(1)
        assert (share >= 0).all()
        assert sum(shares_by_fifth(share)) == pytest.approx(1)
        assert sum(shares_by_band(share, tables.snr).values()) == pytest.approx(1)
        assert list(shares_by_band(share, tables.snr)) == list(BANDS)


def test_plain_v_of_an_ideal_denoiser_is_flat():
    for share in shares(tables_of("v_prediction"), IDEAL).values():
        assert shares_by_fifth(share) == pytest.approx([0.2] * 5, abs=1e-6)


def test_the_scale_of_a_weight_scales_the_gradient_and_no_share():
    one, other = tables_of("debiased"), tables_of("debiased normalize")
    assert gradient_size(one, IDEAL) / gradient_size(other, IDEAL) == pytest.approx(one.mean_weight)
    for a, b in zip(shares(one, IDEAL).values(), shares(other, IDEAL).values(), strict=True):
        assert a == pytest.approx(b)


@pytest.mark.parametrize("profile", [IDEAL, shipped_profile()], ids=["ideal", "shipped"])
def test_the_mean_weight_is_not_the_factor_of_loss_and_gradient(profile):
    plain, debiased = tables_of("plain"), tables_of("debiased")
    assert debiased.mean_weight > 3
    assert 0.8 < expected_loss(debiased, profile) / expected_loss(plain, profile) < 0.9
    assert 1 < gradient_size(debiased, profile) / gradient_size(plain, profile) < 1.4
    finding = next(f for f in findings(Recipe(weighting=(WEIGHTINGS.bind("debiased"),))) if f.code == "loss_scale")
    assert "do not compare your loss numbers" in finding.message, "and no factor of the loss is stated"
    assert "snrlab compare" in finding.action


def test_measured_levels_are_met_and_noise_beyond_them_follows_the_signal():
    profile = shipped_profile()
    error, energy = profile.at(profile.log_snr)
    assert error == pytest.approx(profile.epsilon_error)
    assert energy == pytest.approx(profile.gradient_energy)
    last = profile.log_snr.min()
    assert np.log(profile.at(np.array([last - 3.0]))[0] / profile.at(np.array([last]))[0]) == pytest.approx(-3.0)


@pytest.mark.slow
def test_the_profile_can_be_measured_again(tmp_path):
    file = tmp_path / "profile.json"
    script("measure_profile").main(["--levels", "3", "--pictures", "2", "--out", str(file)])
    measured = json.loads(file.read_text())
    assert len(measured["t"]) == len(measured["epsilon_error"]) == len(measured["gradient_energy"]) == 3
    assert measured["epsilon_error"][0] > measured["epsilon_error"][-1]
