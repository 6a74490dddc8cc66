"""The run files and reference pages of the repository are true."""

import importlib.util
from pathlib import Path

import pytest

from snrlab.config import read_run

ROOT = Path(__file__).parent.parent.parent
RUNS = [*sorted((ROOT / "configs").glob("*.toml")), *sorted((ROOT / "src" / "snrlab" / "cli").glob("*.toml"))]


@pytest.mark.parametrize("file", RUNS, ids=lambda p: p.name)
def test_run_file_is_valid(file):
    read_run(file)


def test_reference_pages_are_up_to_date():
    spec = importlib.util.spec_from_file_location("build_docs", ROOT / "scripts" / "build_docs.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for name, text in script.pages().items():
        assert (ROOT / "docs" / name).read_text() == text, "run scripts/build_docs.py"


def test_readme_run_file_is_valid(tmp_path):
    blocks = (ROOT / "README.md").read_text().split("\n\n")
    start = next(i for i, b in enumerate(blocks) if b.startswith('    name = "my-style"'))
    end = next(i for i, b in enumerate(blocks) if i > start and not b.startswith("    "))
    text = "\n\n".join(blocks[start:end])
    (tmp_path / "run.toml").write_text("\n".join(line[4:] for line in text.splitlines()))
    read_run(tmp_path / "run.toml")
