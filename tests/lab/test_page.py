"""docs/lab.md shows what the commands print: every transcript is run again, `...` standing for what is left out."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from snrlab.cli import app

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "lab.md").read_text(encoding="utf-8")
TRANSCRIPTS = dict(re.findall(r"```text\n\$ snrlab ([^\n]+)\n(.*?)```", PAGE, flags=re.S))
# a LoRA of full size does not ship; tests/models/test_inspection.py has what is said of files
NOT_AT_HAND = ("inspect my-style.safetensors",)


@pytest.mark.parametrize("command", [c for c in TRANSCRIPTS if c not in NOT_AT_HAND])
def test_a_transcript_is_what_is_printed(command, tmp_path, monkeypatch):
    shutil.copy(Path(__file__).parent / "configurations" / "everything.toml", tmp_path / "config.toml")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, shlex.split(command))
    assert done.exit_code == 0, done.output
    shown = re.escape(TRANSCRIPTS[command].strip()).replace(r"\.\.\.", ".*")
    assert re.fullmatch(shown, done.output.strip(), flags=re.S), done.output


def test_the_page_shows_the_configuration_that_is_explained():
    assert (Path(__file__).parent / "configurations" / "everything.toml").read_text().strip() in PAGE
    assert {"plot", "explain", "compare", "inspect", "cite"} == {command.split()[0] for command in TRANSCRIPTS}
