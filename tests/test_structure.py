"""The house: how many files a room has, that a name means one thing, and that names say what a thing is."""

import ast
import io
import re
import tokenize
from collections import Counter, defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "snrlab"
MODULES = sorted(PACKAGE.rglob("*.py"))
MOST_FILES, MOST_IN_TRAIN, MOST_LINES = 14, 7, 400
VAGUE = {"found", "said", "told"}
CONVENTION = {"logger"}  # what every module may define for itself


def test_no_folder_is_a_corridor():
    """A folder whose files cannot be taken in at a glance is sorted into folders."""
    files = Counter(module.parent for module in MODULES)
    assert {str(folder) for folder, count in files.items() if count > MOST_FILES} == set()
    assert files[PACKAGE / "train"] <= MOST_IN_TRAIN


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.relative_to(PACKAGE).as_posix())
def test_no_file_is_too_long(module):
    assert len(module.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def is_registered(node):
    """Whether a function is an entry of a registry, whose name belongs to that registry."""
    return any(
        isinstance(d, ast.Call) and isinstance(d.func, ast.Attribute) and d.func.attr == "register"
        for d in getattr(node, "decorator_list", ())
    )


def public_names(tree):
    """Names that a module defines at its top level for others."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not is_registered(node):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name))


def test_a_public_name_is_defined_once():
    places = defaultdict(set)
    for module in MODULES:
        for name in public_names(ast.parse(module.read_text(encoding="utf-8"))):
            if not name.startswith("_") and name not in CONVENTION:
                places[name].add(module.relative_to(PACKAGE).as_posix())
    assert {name: sorted(where) for name, where in places.items() if len(where) > 1} == {}


@pytest.mark.parametrize("folder", ["src", "tests", "scripts"])
def test_names_say_what_a_thing_is(folder):
    """`found` and its like say that there is something, not what it is."""
    vague = []
    for module in sorted((ROOT / folder).rglob("*.py")):
        tokens = tokenize.generate_tokens(io.StringIO(module.read_text(encoding="utf-8")).readline)
        vague += [f"{module.relative_to(ROOT)}:{t.start[0]} {t.string}" for t in tokens
                  if t.type == tokenize.NAME and t.string in VAGUE]  # fmt: skip
    assert vague == []


def test_every_package_says_what_is_in_it():
    for package in PACKAGE.rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(package.read_text(encoding="utf-8"))), package


def test_the_architecture_page_names_what_is_there():
    """Every file that the page names, and every function that its walk names in a file."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    page = page.split("## The run folder")[0]
    for path in re.findall(r"`((?:[\w.]+/)*[\w]+\.py)`", page):
        assert any((base / path).is_file() for base in (PACKAGE, ROOT, PACKAGE / "train", PACKAGE / "model_files")), (
            path
        )
    walk = page.split("## From the command to the optimizer step")[1].split("## ")[0]
    steps = re.findall(r"^\d+\. `([\w/]+\.py)`: (.*)$", walk, re.M)
    assert 5 <= len(steps) <= 10
    for path, text in steps:
        source = (PACKAGE / path).read_text(encoding="utf-8")
        for name in re.findall(r"`(\w+)(?:\.\w+)?`", text):
            assert re.search(rf"\b{name}\b", source), (path, name)
