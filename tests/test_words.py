"""Words: one list of terms, docs/words.md, and none of the words that readers stumble over."""

import functools
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
import user_strings  # noqa: E402
from documentation import reference  # noqa: E402

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
WRITTEN = [page for page in PAGES if page not in {DOCS / name for name in reference.pages()}]
TERM = re.compile(r"\*\*([^*]+)\*\*")
FENCE = re.compile(r"^```.*?^```$", re.S | re.M)
strings = functools.cache(user_strings.user_strings)


def _terms():
    entries = re.findall(r"^- (.*?)(?=^- |\Z)", (DOCS / "words.md").read_text(encoding="utf-8"), re.S | re.M)
    return {term.lower() for entry in entries for term in TERM.findall(entry)}


def test_a_term_that_the_guide_introduces_is_in_the_list():
    """A term is what a page of the guide sets in bold, in small letters and at most three words."""
    terms, introduced = _terms(), set()
    for page in (DOCS / "guide").glob("*.md"):
        bold = TERM.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
        introduced |= {term for term in bold if re.fullmatch(r"[a-z][a-z-]*( [a-z-]+){0,2}", term)} - EMPHASIS
    assert len(introduced) > 4
    assert introduced - terms == set()


EMPHASIS = {"shown", "one", "from scratch"}  # bold that stresses a word and introduces none


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.stem)
def test_no_page_has_a_banned_word(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    assert user_strings.BANNED_WORDS.findall(text) == []


def test_no_new_string_has_a_banned_word():
    assert {s.text for s in strings() if s.banned} - user_strings.exceptions() == set()


def test_the_list_of_what_is_to_be_mended_only_shrinks():
    gone = user_strings.exceptions() - {s.text for s in strings() if s.banned}
    assert gone == set(), "python scripts/user_strings.py --mended"


def test_the_list_of_strings_has_every_kind_of_them():
    texts = {s.text for s in strings()}
    assert {s.kind for s in strings()} >= {"error", "finding", "help", "field", "docstring", "table", "preset"}
    assert any(s.kind == "field" and s.text == "Learning rate after warm-up." for s in strings())
    assert any("needs the package" in text for text in texts)


@pytest.mark.parametrize(
    ("source", "kind", "text"),
    [
        ('raise UserError(f"{x} is no folder here")', "error", "{} is no folder here"),
        ('@app.command()\ndef run():\n    """Does what it says."""', "docstring", "Does what it says."),
        ('def run():\n    """Is for programmers, not for users."""', None, None),
        ('x = "short one"', None, None),
    ],
)
def test_strings_are_taken_from_the_syntax(source, kind, text, tmp_path, monkeypatch):
    monkeypatch.setattr(user_strings, "ROOT", tmp_path)
    (tmp_path / "m.py").write_text(source)
    assert [(s.kind, s.text) for s in user_strings.of_python(tmp_path / "m.py")] == ([(kind, text)] if kind else [])
