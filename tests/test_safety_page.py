"""docs/safety.md promises nothing without a test: docs/promises.md names one for each line, and they are there."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
DOCS = TESTS.parent / "docs"
PAGE, HELD = ((DOCS / name).read_text(encoding="utf-8") for name in ("safety.md", "promises.md"))
HEADINGS = ("promise", "what happens", "case")


def _first_cells(text):
    cells = [line.strip("| ").partition(" |")[0] for line in text.splitlines() if line.startswith("| ")]
    return [cell for cell in cells if cell not in HEADINGS]


def test_every_test_that_is_named_is_there():
    defined = {
        name for file in TESTS.rglob("test_*.py") for name in re.findall(r"^def (test_\w+)", file.read_text(), re.M)
    }
    named = set(re.findall(r"\b(test_\w+)(?!\w|\.py)", HELD))
    assert len(named) > 25
    assert named - defined == set()


def test_every_promise_names_one():
    rows = [line for line in HELD.splitlines() if line.startswith("| ")]
    assert len(rows) > 20
    held = [row for row in rows if not row.startswith(tuple(f"| {name} |" for name in HEADINGS))]
    assert [row for row in held if "test_" not in row and "tests/" not in row] == []


def test_every_line_of_the_page_has_its_row():
    promised = PAGE[PAGE.index("## What is promised") : PAGE.index("## What stops a run")]
    lines = [line.removeprefix("- ") for line in promised.splitlines() if line.startswith("- ")] + _first_cells(PAGE)
    assert len(lines) > 20
    assert [line for line in lines if line not in _first_cells(HELD)] == []


def test_the_page_for_users_names_no_test():
    assert "test_" not in PAGE
