"""The list of mutants: each still applies, enough are peers' bugs, and the suite that kills them names no entry."""

import re
import tomllib
from pathlib import Path

import pytest

from drawing import ENTRIES
from snrlab.core.prediction import PREDICTION_TYPES

TESTS = Path(__file__).parent.parent
MUTANTS = tomllib.loads((TESTS / "mutants" / "mutants.toml").read_text())["mutant"]


def test_there_are_enough():
    assert len(MUTANTS) >= 16
    shipped = [m for m in MUTANTS if m["why"].startswith("Peer: shipped by")]
    assert len(shipped) >= 10


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m["name"])
def test_it_applies(mutant):
    assert (TESTS.parent / mutant["file"]).read_text().count(mutant["find"]) == 1
    assert mutant["find"] != mutant["replace"]


def test_the_contract_suite_names_no_entry():
    also_in_the_log = {"mse"}
    names = {entry.name for entry in ENTRIES} - set(PREDICTION_TYPES) - also_in_the_log
    for file in (TESTS / "contract").glob("*.py"):
        quoted = set(re.findall(r"""["'](\w+)(?=["':])""", file.read_text()))
        assert not quoted & names, file.name
