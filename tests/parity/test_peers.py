"""What peers' own functions gave (peers/*.json, made by peers/dump.py) against our entries.

Agreements, and as tests too, disagreements: `ours` computes what the peer computes, `meant` what the option's name
promises, and `agrees` says whether those two are the same.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from parity.agreement import agreement
from snrlab import SCHEDULES, WEIGHTINGS
from snrlab.core.weights.loss_weight import loss_weight
from snrlab.lab.recipe_text import parse_recipe

SD = SCHEDULES.bind("sd")()
FIXTURES = {p.stem: json.loads(p.read_text()) for p in sorted((Path(__file__).parent / "peers").glob("*.json"))}
FACTS = {
    "repository", "commit", "file", "function", "licence", "command", "derived", "kind", "inputs", "outputs", "ours",
    "meant", "note", "agrees",
}  # fmt: skip


def reproduced():
    return [name for name, fixture in FIXTURES.items() if fixture["ours"]]


def promised():
    return [name for name, fixture in FIXTURES.items() if fixture["meant"] and fixture["meant"] != fixture["ours"]]


@pytest.mark.parametrize("name", reproduced())
def test_we_compute_what_the_peer_computes(name):
    assert agreement(FIXTURES[name], FIXTURES[name]["ours"])


@pytest.mark.parametrize("name", promised())
def test_the_peer_computes_what_it_promises_or_not(name):
    assert agreement(FIXTURES[name], FIXTURES[name]["meant"]) is FIXTURES[name]["agrees"]


def test_fixtures_say_where_they_are_from():
    assert len({fixture["repository"] for fixture in FIXTURES.values()}) >= 12
    for name, fixture in FIXTURES.items():
        assert set(fixture) == FACTS, name
        assert len(fixture["commit"]) == 40, name
        assert fixture["note"].endswith("."), name
        assert fixture["agrees"] or fixture["ours"] != fixture["meant"], name


def test_every_peers_formula_of_ours_has_a_fixture_of_that_peer():
    shown = " ".join(str(fixture["ours"]) for fixture in FIXTURES.values())
    variants = {name for name, entry in WEIGHTINGS.items() if entry.properties.peer}
    assert variants == {name for name in variants if name in shown}
    assert len(variants) >= 9


@pytest.mark.parametrize(
    ("variant", "paper"),
    [
        ("kohya_debiased_v", "debiased"),
        ("onetrainer_debiased_v", "debiased"),
        ("onetrainer_p2_v", "p2"),
        ("diffusers_dreambooth_min_snr_v", "min_snr"),
        ("diffusers_pixart_min_snr_v", "min_snr"),
        ("ai_toolkit_min_snr_v", "min_snr"),
    ],
)
def test_the_variants_are_not_the_paper(variant, paper):
    theirs, ours = (loss_weight([WEIGHTINGS.parse(s)], SD.log_snr, "v_prediction") for s in (variant, paper))
    assert theirs[999] / ours[999] > 10, "the noisiest steps count at least ten times more"


def test_kohya_uses_the_table_from_before_the_rescale():
    """sd-scripts builds all_snr before it rescales the schedule (issues #1263, #1905): weights off by 4.8 at 900."""
    fixture = FIXTURES["kohya-min-snr-v-zero-terminal"]
    theirs = fixture["outputs"]["weight"][fixture["outputs"]["t"].index(900)]
    ours = parse_recipe(fixture["meant"])[1].tables().weight[900]
    assert theirs / ours == pytest.approx(4.8, abs=0.1)


def test_several_weights_of_a_peer_multiply_on_the_network():
    peer = FIXTURES["kohya-min-snr-and-debiased-v"]["outputs"]
    specs = [WEIGHTINGS.parse("min_snr"), WEIGHTINGS.parse("kohya_debiased_v")]
    network, epsilon = (loss_weight(specs, SD.log_snr, "v_prediction", on)[peer["t"]] for on in ("network", "epsilon"))
    assert network == pytest.approx(peer["weight"], rel=1e-4)
    assert not np.allclose(epsilon, peer["weight"])
