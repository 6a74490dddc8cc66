"""The list of mutants: each still applies, enough are peers' bugs, and the suite that kills them names no entry."""

import re
import subprocess
from pathlib import Path

import pytest

from drawing import ENTRIES
from snrlab.core.prediction import PREDICTION_TYPES

TESTS = Path(__file__).parent.parent
PATCHES = sorted((TESTS / "mutants").glob("*.patch"))


def test_there_are_enough():
    assert len(PATCHES) >= 16
    shipped = [p for p in PATCHES if p.read_text().startswith("Peer: shipped by")]
    assert len(shipped) >= 10


@pytest.mark.parametrize("patch", PATCHES, ids=lambda p: p.stem)
def test_it_applies(patch):
    command = ["patch", "--dry-run", "--quiet", "-p1", "--fuzz=0", "-i", str(patch)]
    assert subprocess.run(command, cwd=TESTS.parent, capture_output=True).returncode == 0


def test_the_contract_suite_names_no_entry():
    names = {entry.name for entry in ENTRIES} - set(PREDICTION_TYPES)
    for file in (TESTS / "contract").glob("*.py"):
        quoted = set(re.findall(r"""["'](\w+)(?=["':])""", file.read_text()))
        assert not quoted & names, file.name
