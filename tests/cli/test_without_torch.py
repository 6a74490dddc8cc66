"""The bare install: what must answer without torch, and what must say so."""

import subprocess
import sys

import pytest

from snrlab.installation import install_command

HEAVY = ("torch", "diffusers", "transformers", "peft", "accelerate", "torchvision", "matplotlib", "PIL")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["table", "--every", "100"], ["table", "--help"], ["--version"]], ids=" ".join
)
def test_commands_import_nothing_heavy(arguments):
    code = (
        "import sys\n"
        f"sys.argv = ['snrlab', *{arguments!r}]\n"
        "from snrlab.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"found = [m for m in {HEAVY!r} if m in sys.modules]\n"
        "assert not found, found\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_import_is_light():
    code = f"import snrlab, sys; assert not [m for m in {HEAVY!r} if m in sys.modules]"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("command", [["train", "run.toml"], ["demo"], ["sample", "small"]])
def test_training_without_torch_says_what_to_install(command, tmp_path):
    (tmp_path / "run.toml").write_text('[model]\nrandom = "small"\n[data]\nshipped = "noto"\nresolution = 64\n')
    code = (
        "import sys\n"
        "sys.modules['torch'] = None\n"  # import torch now raises ImportError, as where it is not installed
        f"sys.argv = ['snrlab', *{command!r}]\n"
        "from snrlab.cli import main\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    first, *_, last = done.stderr.splitlines()
    assert first.startswith("snrlab demo:") if command == ["demo"] else first == "loading PyTorch and diffusers ..."
    assert install_command("train") in last
    assert "Traceback" not in done.stderr


def test_torchvision_is_not_needed():
    assert subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True).returncode != 0
