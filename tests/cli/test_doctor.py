"""snrlab doctor: what it finds on a well machine, and on one with everything wrong."""

import json
import os
import sys

import pytest

import tiny
from snrlab.cli.machine.graphics_card import Card, find_cards, install_line
from snrlab.installation import install_command

posix = pytest.mark.skipif(os.name != "posix", reason="puts a shell script in the place of nvidia-smi")


def card_on(path, monkeypatch, output):
    """A machine whose nvidia-smi says this, or fails where asked for what it does not know."""
    script = path / "nvidia-smi"
    script.write_text(f"#!/bin/sh\n{output}\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(path), prepend=os.pathsep)


@posix
def test_cards_by_nvidia_smi(tmp_path, monkeypatch):
    card_on(tmp_path, monkeypatch, "echo 'NVIDIA GeForce RTX 3060, 580.65.06, 12288, 8.6'")
    assert find_cards() == [Card("NVIDIA GeForce RTX 3060", "580.65.06", 12.0, 8.6)]


@posix
def test_cards_by_an_old_nvidia_smi(tmp_path, monkeypatch):
    old = "case $1 in *compute_cap*) exit 2;; esac; echo 'Tesla P100, 470.82, 16280'"
    card_on(tmp_path, monkeypatch, old)
    (card,) = find_cards()
    assert (card.name, card.driver, card.capability) == ("Tesla P100", "470.82", None)
    assert "cu126" in install_line([card])


@pytest.mark.long
def test_a_well_machine(tmp_path):
    done = tiny.snrlab("doctor", "--out", tmp_path / "runs", "--format", "json")
    report = json.loads(done.stdout)
    states = {check["name"]: check["state"] for check in report["checks"]}
    assert {"python", "torch", "torch build", "graphics card", "disk", "write permission", "threads"} <= states.keys()
    assert states["training libraries"] == "ok"
    assert report["ok"] == (done.returncode == 0)
    assert report["ok"] == ("problem" not in states.values())
    assert str(tmp_path) not in done.stdout, "names no folder of the machine"


@pytest.mark.long
@posix
def test_everything_wrong(tmp_path, monkeypatch):
    card_on(tmp_path, monkeypatch, "echo 'NVIDIA GeForce RTX 3060, 580.65.06, 12288, 8.6'")
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("OMP_NUM_THREADS", "999")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = tiny.snrlab("doctor", "--verbose", "--out", tmp_path / "file", env=os.environ)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for words in (
        "torchvision::nms does not exist", "pip uninstall torchvision",
        "built for the processor only, but there is a graphics card", "--index-url https://download.pytorch.org/whl/cu130",
        "file/ cannot be written", "OMP_NUM_THREADS is 999", "HF_HUB_OFFLINE=1",
    ):  # fmt: skip
        assert words in done.stdout, words


def test_without_torch_it_answers_and_says_what_is_missing(tmp_path):
    code = (
        "import sys\n"
        "for name in ('torch', 'diffusers', 'transformers', 'peft', 'psutil', 'PIL'):\n    sys.modules[name] = None\n"
        "from importlib import metadata\n"
        "version = metadata.version\n"
        "def without_torch(name):\n"
        "    if name == 'torch':\n        raise metadata.PackageNotFoundError\n"
        "    return version(name)\n"
        "metadata.version = without_torch\n"
        "sys.argv = ['snrlab', 'doctor']\n"
        "from snrlab.cli import main\nmain()\n"
    )
    import subprocess

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert install_command("train") in done.stdout.replace("\n", " ")
    assert not done.stderr


def test_unknown_format():
    done = tiny.snrlab("doctor", "--format", "jsn")
    assert done.returncode == 2
    assert "Did you mean 'json'" in done.stderr
