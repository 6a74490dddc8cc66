"""Codes of errors: one table, no code without use or meaning, and the same error in another process."""

import ast
import pickle
import re
from pathlib import Path

import pytest

import snrlab
from snrlab.core.errors import ERROR_CODES, UserError, one_code, unknown
from snrlab.distributed import LostProcessError
from snrlab.files.writing import WriteError
from snrlab.model_files.recognise import OtherKindError
from snrlab.train.loop import DivergedError
from snrlab.train.resume.checkpoint import NotFiniteError
from snrlab.train.resume.state import UnfitError

SOURCE = Path(snrlab.__file__).parent
TABLE = SOURCE / "core" / "errors.py"


def constants(tree):
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def stated():
    """(file, code) of every code that an error is made with in the sources."""
    for file in sorted(SOURCE.rglob("*.py")):
        for call in (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)):
            name = getattr(call.func, "id", getattr(call.func, "attr", ""))
            if name.endswith("Error") or (name == "__init__" and file != TABLE):
                for keyword in (keyword for keyword in call.keywords if keyword.arg == "code"):
                    branches = [keyword.value]
                    if isinstance(keyword.value, ast.IfExp):
                        branches = [keyword.value.body, keyword.value.orelse]
                    yield from ((file.name, node.value) for node in branches if isinstance(node, ast.Constant))


def test_every_code_that_is_stated_is_in_the_table():
    stated_codes = list(stated())
    assert len(stated_codes) > 350
    assert [(file, code) for file, code in stated_codes if code not in ERROR_CODES] == []


def test_every_code_of_the_table_is_used_and_explained():
    used = set().union(*(constants(ast.parse(f.read_text())) for f in SOURCE.rglob("*.py") if f != TABLE))
    used.add("several-mistakes")
    assert set(ERROR_CODES) <= used
    for code, meaning in ERROR_CODES.items():
        assert re.fullmatch("[a-z]+(-[a-z8]+)*", code), code
        assert re.fullmatch(".{20,118}[.]", meaning), code


def test_the_page_has_every_code():
    page = (SOURCE.parent.parent / "docs" / "error-codes.md").read_text()
    for code, meaning in ERROR_CODES.items():
        assert f"| `{code}` | {meaning} |" in page


def test_a_code_that_is_not_in_the_table_is_refused():
    with pytest.raises(LookupError, match="'nope' is not in ERROR_CODES"):
        UserError("a message", code="nope")
    assert one_code(["no-images", "not-utf8"]) in ERROR_CODES


ERRORS = [
    UserError("a", code="disk-full", field="every"), unknown("weighting", "min_snrr", ["min_snr"]),
    WriteError("a", code="disk-full"), WriteError("a"), OtherKindError("a", "a LoRA"), DivergedError("a"),
    LostProcessError("a"), NotFiniteError("a"), UnfitError("optimizer"),
]  # fmt: skip


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
def test_errors_reach_another_process_as_they_are(error):
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))
    longer = error.followed_by("more")
    assert (type(longer), str(longer), longer.code) == (type(error), f"{error}\nmore", error.code)
