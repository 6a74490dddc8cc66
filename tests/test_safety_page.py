"""docs/safety.md promises nothing without a test: those it names are there."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "safety.md").read_text(encoding="utf-8")


def test_every_test_that_is_named_is_there():
    defined = {
        name for file in TESTS.rglob("test_*.py") for name in re.findall(r"^def (test_\w+)", file.read_text(), re.M)
    }
    named = set(re.findall(r"\b(test_\w+)(?!\w|\.py)", PAGE))
    assert len(named) > 25
    assert named - defined == set()


def test_every_promise_names_one():
    rows = [
        line
        for line in PAGE.splitlines()
        if line.startswith("| ") and not line.startswith(("| promise", "| what ", "| case"))
    ]
    assert len(rows) > 20
    assert [row for row in rows if "test_" not in row and "tests/" not in row] == []
