"""Two processes train what one trains: the same draws, the same gradient, the same weights on both."""

import json
import shutil
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

import tiny
import two_processes
from drawing import all_of, default
from snrlab import SAMPLINGS, UserError
from snrlab.config import dump, parse_run
from snrlab.core.perturbation import PERTURBATIONS
from snrlab.distributed import Processes
from snrlab.train import runner

pytestmark = pytest.mark.long
LEARNS = next(name for name, entry in SAMPLINGS.items() if entry.properties.learns)
BATCH = 4
ALIKE = {
    "lora": {
        "data": {"flip": True, "shuffle_tags": True},
        "train": {"ema": 0.5, "text_encoder": True},
        "lora": {"rank": 2, "dropout": 0.5},
        "recipe": {"perturbation": {"name": all_of(PERTURBATIONS)[0].name, **default(all_of(PERTURBATIONS)[0]).params}},
    },
    "accumulated": {"train": {"batch_size": 1, "gradient_accumulation": 2}},
    "full": {"train": {"method": "full", "max_grad_norm": 0.01}},
    "fused": {"train": {"method": "full", "fused_backward": True, "max_grad_norm": 0.0}},
    "learning": {"recipe": {"sampling": LEARNS}},
}
ENDS = {"train": {"steps": 4, "checkpoint_every": 1}, "validation": {"images": 2, "every": 2}}


def plan_of(model, pictures, sections, batch_size):
    train = {"steps": 3, "batch_size": batch_size, "learning_rate": 1e-3, **sections.get("train", {})}
    return tiny.run_dict(model, pictures, **{**sections, "train": train})


def stopped_after_two(config, out):
    """The run in one process that ends after two of its steps, as if it had been asked to."""
    whole = runner.steps

    def two(job, start=0):
        yield from (step for step, _ in zip(whole(job, start), range(2), strict=False))
        raise KeyboardInterrupt

    runner.steps = two
    try:
        with pytest.raises(KeyboardInterrupt):
            runner.run(config, out)
    finally:
        runner.steps = whole


@pytest.fixture(scope="module")
def joint(tiny_model, pictures, tmp_path_factory):
    """What both processes made of everything that is asked of them here; they are started once."""
    out = tmp_path_factory.mktemp("two")
    plan = {name: {"config": plan_of(tiny_model, pictures, sections, 2)} for name, sections in ALIKE.items()}
    plan["broken"] = {"config": plan_of(tiny_model, pictures, {}, 2), "broken_rank": 1}
    cache = {"data": {"cache": True, "cache_folder": str(out / "cache"), "vae_batch_size": 2}}
    plan["run"] = {"config": plan_of(tiny_model, pictures, ENDS | cache, 2), "out": str(out / "two")}
    alone = plan_of(tiny_model, pictures, ENDS, BATCH)
    stopped_after_two(parse_run(alone), out / "from-one")
    plan["from-one"] = {"config": plan_of(tiny_model, pictures, ENDS, 2), "out": str(out / "from-one")}
    return out, two_processes.launch(plan, out / "facts")


@pytest.mark.parametrize("name", ALIKE)
def test_two_equal_one(name, joint, tiny_model, pictures):
    together = joint[1][0][name]
    sections = ALIKE[name]
    train = {k: v for k, v in sections.get("train", {}).items() if k not in ("batch_size", "gradient_accumulation")}
    alone = two_processes.trained(plan_of(tiny_model, pictures, {**sections, "train": train}, BATCH))
    assert len(together["steps"]) == len(alone["steps"]) == 3
    for one, two in zip(alone["steps"], together["steps"], strict=True):
        assert two["t"] == one["t"]
        assert two["mse"] == pytest.approx(one["mse"], rel=1e-3), "the same image, caption and noise in each slot"
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-3)
        assert two["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-2)
    moved = np.abs(np.array(together["weights"]) - alone["weights"])
    assert moved.max() < 2e-4, "three steps of a rate of 1e-3"


def test_strata_cover_all_processes(joint):
    for step in joint[1][0]["lora"]["steps"]:
        assert sorted(t * BATCH // 1000 for t in step["t"]) == list(range(BATCH))
    slots = [set(joint[1][rank]["lora"]["slots"]) for rank in range(2)]
    assert not slots[0] & slots[1]


@pytest.mark.parametrize("name", ALIKE)
def test_both_have_the_same_weights_average_and_log(name, joint):
    """To the bit: the loss is that of the whole batch on both, and so is what is learnt from it."""
    one, two = (joint[1][rank][name] for rank in range(2))
    assert one["hash"] == two["hash"]
    assert one["steps"] == two["steps"]


def test_a_loss_that_is_no_number_on_one_stops_both_and_names_its_images(joint):
    one, two = (joint[1][rank]["broken"] for rank in range(2))
    assert one["diverged"] == two["diverged"]
    assert len(one["steps"]) == len(two["steps"]) == 1
    assert one["hash"] == two["hash"], "the step that failed changed nothing on either"


def test_weights_that_drift_apart_end_all_and_one_says_so(joint):
    one, two = (joint[1][rank]["drift"] for rank in range(2))
    assert "the processes no longer have the same weights: rank 1 differs from rank 0" in one
    assert two == "exit code 2"


def lines(folder, name):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def test_a_run_of_two_is_that_of_one(joint, tiny_model, pictures, tmp_path):
    alone = runner.run(parse_run(plan_of(tiny_model, pictures, ENDS, BATCH)), tmp_path).folder.path
    two, messages = joint[0] / "two" / "tiny", joint[1][0]["run"]["said"]
    assert joint[1][1]["run"]["said"] == [], "only the main process speaks"
    assert any("(batch 2 x 1 accumulated x 2 devices) = 1 steps an epoch" in line for line in messages)
    for name in ("two", "from-one"):
        for one, other in zip(lines(alone, "steps.jsonl"), lines(joint[0] / name / "tiny", "steps.jsonl"), strict=True):
            assert other["t"] == one["t"]
            assert other["mse"] == pytest.approx(one["mse"], rel=1e-3)
        measured = lines(joint[0] / name / "tiny", "validation.jsonl")
        for one, other in zip(lines(alone, "validation.jsonl"), measured, strict=True):
            assert [one["step"], one["images"]] == [other["step"], other["images"]]
            for band, errors in one["errors"].items():
                assert other["errors"][band] == pytest.approx(errors, rel=1e-3)
    assert (two / "tiny.safetensors").exists()
    assert sum(1 for _ in (joint[0] / "cache").glob("*.safetensors")) >= 2, "each wrote what it had encoded"


def test_from_one_to_two_says_so(joint):
    messages = "\n".join(joint[1][0]["from-one"]["said"])
    assert "batch 2 x 1 accumulated x 2 processes instead of 4 x 1 x 1: the same global batch" in messages
    assert "the same curve to rounding" in messages


def test_another_global_batch_is_refused(joint, tiny_model, pictures, tmp_path):
    shutil.copytree(joint[0] / "two", tmp_path, dirs_exist_ok=True)
    (tmp_path / "tiny" / "tiny.safetensors").unlink()
    with pytest.raises(UserError, match=r"processes +2 +1") as refused:
        runner.run(parse_run(plan_of(tiny_model, pictures, ENDS, 2)), tmp_path, resume=True)
    assert "--fork NAME" in str(refused.value)


def test_a_lost_process_ends_the_other_and_one_goes_on(tiny_model, pictures, tmp_path):
    """Started as users do; one process is killed; the other says so; the rest is trained by one process."""
    config = plan_of(tiny_model, pictures, {"train": {"steps": 400, "checkpoint_every": 1}}, 2)
    toml = tmp_path / "run.toml"
    toml.write_text(dump(parse_run(config)))
    command = [sys.executable, "-m", "snrlab", "train", str(toml), "--out", str(tmp_path), "--processes", "2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as launcher:
        log = tmp_path / "tiny" / "steps.jsonl"
        for _ in range(600):
            if log.exists() and log.read_bytes().count(b"\n") > 2:
                break
            time.sleep(0.1)
        second = max(psutil.Process(launcher.pid).children(), key=lambda process: process.pid)
        second.kill()
        stderr = launcher.stderr.read()
        assert launcher.wait(60) != 0
    assert "another process of this run has ended" in stderr
    assert "snrlab resume" in stderr
    assert "Traceback" not in stderr
    done = len(log.read_text().splitlines())
    config["train"] |= {"steps": done + 1, "batch_size": BATCH}
    outcome = runner.run(parse_run(config), tmp_path, resume=True)
    assert outcome.finished
    assert [line["step"] for line in lines(tmp_path / "tiny", "steps.jsonl")] == list(range(done + 1))


def test_slots_of_all_processes_are_the_global_batch():
    slots = [Processes(rank, 3).slots(micro, 2, 4) for rank in range(3) for micro in range(2)]
    assert np.concatenate(slots).tolist() == list(range(24))
