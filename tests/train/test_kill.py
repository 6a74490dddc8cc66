"""SIGKILL and Ctrl-C of the real command: the next --resume goes on, and ends with the same bits."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import tomlkit
from safetensors.torch import load_file

import tiny

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="kills with SIGKILL")]
STEPS = 400


def write_run(path, model, pictures, method):
    data = tiny.run_dict(model, pictures, train={"method": method, "steps": STEPS, "checkpoint_every": 3})
    path.write_text(tomlkit.dumps(data))
    return path


def start(run, out):
    command = [sys.executable, "-m", "snrlab", "train", str(run), "--out", str(out), "--resume"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def wait_for_step(log, step, process):
    while process.poll() is None and (not log.exists() or log.read_bytes().count(b"\n") < step):
        time.sleep(0.002)


def result_of(folder, method):
    path = folder / "tiny.safetensors" if method == "lora" else folder / "tiny" / "unet"
    return load_file(path if path.is_file() else path / "diffusion_pytorch_model.safetensors")


@pytest.mark.parametrize("method", ["lora", "full"])
def test_five_kills_at_random_steps(method, tiny_model, pictures, tmp_path):
    run = write_run(tmp_path / "run.toml", tiny_model, pictures, method)
    undisturbed = start(run, tmp_path / "whole")
    kills = sorted(random.Random(method).sample(range(2, STEPS - 20), 5))
    log = tmp_path / "killed" / "tiny" / "steps.jsonl"
    for step in kills:
        process = start(run, tmp_path / "killed")
        wait_for_step(log, step, process)
        process.kill()
        assert process.wait() == -signal.SIGKILL, process.stderr.read()
    last = start(run, tmp_path / "killed")
    assert last.wait() == 0, last.stderr.read()
    assert "resuming" in last.stderr.read()
    assert undisturbed.wait() == 0, undisturbed.stderr.read()
    whole, killed = (result_of(tmp_path / n / "tiny", method) for n in ("whole", "killed"))
    assert whole.keys() == killed.keys()
    assert all((whole[k] == killed[k]).all() for k in whole)
    assert log.read_bytes() == (tmp_path / "whole" / "tiny" / "steps.jsonl").read_bytes()
    assert not list((tmp_path / "killed").rglob("*.tmp"))


def test_ctrl_c_saves_and_stops(tiny_model, pictures, tmp_path):
    run = write_run(tmp_path / "run.toml", tiny_model, pictures, "lora")
    log = tmp_path / "out" / "tiny" / "steps.jsonl"
    process = start(run, tmp_path / "out")
    wait_for_step(log, 10, process)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    text = process.stderr.read()
    assert "--resume goes on" in text
    assert "Traceback" not in text
    done = len([json.loads(line) for line in log.read_text().splitlines()])
    assert (tmp_path / "out" / "tiny" / "checkpoints" / f"step-{done:08d}.safetensors").is_file()
    again = start(run, tmp_path / "out")
    assert again.wait() == 0
    assert f"at step {done}" in again.stderr.read()
