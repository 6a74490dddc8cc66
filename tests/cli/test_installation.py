"""The command that adds an extra names a place that pip can install from."""

import shlex
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from snrlab.installation import install_command, requirement

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("editable", [False, True])
def test_a_checkout_is_named_by_its_folder(editable):
    origin = {"url": ROOT.as_uri(), "dir_info": {"editable": True} if editable else {}}
    words = shlex.split(requirement("train", origin))
    assert words == ["--editable"] * editable + [f"{ROOT}[train]"]


def test_a_checkout_that_has_gone_is_not_named(tmp_path):
    assert requirement("train", {"url": (tmp_path / "gone").as_uri(), "dir_info": {}}).startswith('".[train]"')


def test_a_repository_is_named_by_its_address():
    named = Requirement(
        shlex.split(requirement("optim", {"url": "https://e.org/s.git", "vcs_info": {"vcs": "git"}}))[0]
    )
    assert named.extras == {"optim"}
    assert named.url == "git+https://e.org/s.git"


def test_nothing_is_asked_of_an_index_that_does_not_have_it():
    assert shlex.split(install_command("train").partition(" (")[0])[-1] != "snrlab[train]"
    sources = [file.read_text(encoding="utf-8") for file in (ROOT / "src").rglob("*.py")]
    assert [text for text in sources if 'pip install "snrlab[' in text] == []
