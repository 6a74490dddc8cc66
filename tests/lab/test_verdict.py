"""Verdicts: sentences that follow from the tables, in the constructed cases whose answer is known."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snrlab.core.findings.recipe_findings import findings
from snrlab.core.schedule import SCHEDULES
from snrlab.lab.explain import explain
from snrlab.lab.recipe_text import parse_recipe
from snrlab.lab.verdict.verdict import percent, verdict
from snrlab.lab.verdict.zones import ZONES, zones

MULTIPLY = {"min_snr_gamma": 5, "debiased_estimation_loss": True}


def of(text):
    recipe = parse_recipe(text)[1]
    return verdict(recipe, findings(recipe))


def test_two_weightings_that_multiply(tmp_path):
    """The case of the issue: 59 % on almost pure noise, 0.7 % on detail, keep one of them."""
    file = tmp_path / "lora.toml"
    file.write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in MULTIPLY.items()))
    point = explain(file).verdict
    assert point.sentences == (
        "59 % of the training goes to almost pure noise (t >= 800) and 0.7 % to fine detail (t < 147), because Min-SNR "
        "and Debiased multiply.",
        "Plain training gives them 20 % and 15 %.",
    )
    assert point.cause == "weights_multiply"
    assert (point.advice[0].code, point.advice[0].text) == ("weights_multiply", "Keep only one: Min-SNR or Debiased.")


def test_plain_training_needs_nothing():
    point = of("plain")
    assert point.is_plain
    assert point.advice == ()
    assert point.zones == point.plain
    assert point.sentences[-1] == "Nothing has to be changed."


def test_a_constant_factor_is_plain():
    assert of("curve:points=0/4,space=epsilon").is_plain


def test_one_weighting_is_named_and_left_alone():
    point = of("min_snr")
    assert "because of Min-SNR" in point.sentences[0]
    assert "Min-SNR is made for" in point.sentences[-1]
    assert point.cause == ""


@pytest.mark.parametrize("text", ["zero_terminal_snr", "v_prediction zero_terminal_snr debiased weighting=sample"])
def test_what_cannot_be_trained_is_said_first(text):
    point = of(text)
    assert point.sentences[0].startswith("This cannot be trained: ")
    assert point.advice


def test_what_never_improves_has_its_remedy():
    point = of("v_prediction zero_terminal_snr min_snr")
    assert "weight_zero" in [advice.code for advice in point.advice]


@given(
    weighting=st.lists(st.sampled_from(["min_snr", "debiased", "p2", "soft_min_snr", "sigmoid"]), max_size=3),
    prediction=st.sampled_from(["epsilon", "v_prediction", "sample"]),
    schedule=st.sampled_from(["sd", "cosine", "rectified_flow", "ddpm_linear", "sd:num_train_timesteps=20"]),
)
def test_any_recipe_has_one_to_three_sentences_whose_numbers_are_its_shares(weighting, prediction, schedule):
    recipe = parse_recipe(" ".join([prediction, f"schedule={schedule}", *weighting]))[1]
    point = verdict(recipe, findings(recipe))
    assert 1 <= len(point.sentences) <= 3
    for shares in (point.zones, point.plain):
        assert sum(zone.share for zone in shares) == pytest.approx(1)
    text = " ".join(point.sentences)
    assert point.is_plain or all(percent(zone.share) in text for zone in point.zones if f"to {zone.name} (" in text)


def test_zones_cover_a_schedule_once():
    snr = SCHEDULES.bind("sd")().snr
    shares = zones(snr, np.full(len(snr), 1 / len(snr)))
    assert [zone.name for zone in shares] == list(ZONES)
    assert [zone.timesteps for zone in shares] == ["t < 147", "t 147 to 353", "t 354 to 799", "t >= 800"]
    assert [zone.share for zone in shares] == pytest.approx([0.147, 0.207, 0.446, 0.2])
