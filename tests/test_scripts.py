"""The scripts that made what ships still run, on a small scale."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_base_can_be_rebuilt(tmp_path):
    before = {p: p.stat().st_mtime for p in (ROOT / "src" / "snrlab" / "models").rglob("*.safetensors")}
    command = [sys.executable, ROOT / "scripts" / "build_base.py", "--state", tmp_path, "--dry-run"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "autoencoder.pt").is_file()
    assert (tmp_path / "base" / "base" / "model_index.json").is_file()
    assert (tmp_path / "twin" / "twin" / "unet" / "diffusion_pytorch_model.safetensors").is_file()
    assert {p: p.stat().st_mtime for p in before} == before, "a dry run leaves the package alone"
