"""Files that commands write: what is in them is what their names say."""

import json

import pytest

import tiny

BEGINS = {"a.html": "<!doctype html>", "a.md": "# ", "a.txt": "compared with plain, debiased moves "}


@pytest.mark.parametrize("name", BEGINS)
def test_the_ending_of_the_file_says_what_is_written(name, tmp_path):
    """compare -o a.html wrote a text with that name, which a browser shows as one paragraph."""
    assert tiny.snrlab("compare", "plain", "debiased", "-o", name, cwd=tmp_path).returncode == 0
    assert (tmp_path / name).read_text(encoding="utf-8").lower().startswith(BEGINS[name])


def test_what_is_stated_goes_before_the_ending(tmp_path):
    assert tiny.snrlab("compare", "plain", "debiased", "-o", "a.html", "--format", "json", cwd=tmp_path).returncode == 0
    json.loads((tmp_path / "a.html").read_text(encoding="utf-8"))
    failed = tiny.snrlab("explain", "a.html", "--format", "htm", cwd=tmp_path)
    assert failed.returncode == 2
    assert "Did you mean 'html'" in failed.stderr
