"""Trackers get what the logs hold: TensorBoard's files are read back with its own reader."""

import importlib.util

import numpy as np
import pytest
import torch
from accelerate.tracking import TensorBoardTracker
from safetensors.torch import load_file

import tiny
from snrlab import UserError
from snrlab.runs.logs import read_steps, read_validation
from snrlab.train import runner
from snrlab.train.outputs.trackers import band_keys

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def finish(config, out, **kwargs):
    return runner.run(config, out, **kwargs).folder


def config(tiny_model, pictures, every=1):
    return tiny.run_config(
        tiny_model,
        pictures,
        sample={"prompts": ["a", "b"], "steps": 2},
        validation={"images": 2, "every": 3},
        log={"trackers": ["tensorboard"], "every": every},
    )


def events(folder):
    reader = accumulator.EventAccumulator(str(folder.logs / "tensorboard"), size_guidance={"images": 0, "scalars": 0})
    return reader.Reload()


def scalars(logged, tag):
    return {event.step: event.value for event in logged.Scalars(tag)}


def test_every_step_is_sent(tiny_model, pictures, tmp_path):
    folder = finish(config(tiny_model, pictures), tmp_path)
    logged, lines = events(folder), list(read_steps(folder.steps_file))
    for tag, value in {
        "loss/weighted": lambda line: line["loss"],
        "loss/unweighted": lambda line: np.mean(line["mse"]),
        "learning_rate": lambda line: line["lr"],
        "grad_norm": lambda line: line["grad_norm"],
    }.items():
        assert scalars(logged, tag) == pytest.approx({line["step"] + 1: value(line) for line in lines}, rel=1e-6)
    for band, key in band_keys().items():
        wanted = {line["step"] + 1: line["bands"][band] for line in lines if line["bands"][band] is not None}
        if wanted:
            assert scalars(logged, f"unweighted/{key}") == pytest.approx(wanted, rel=1e-6)
    for line in read_validation(folder.validation_file):
        for band, estimate in line["bands"].items():
            sent = scalars(logged, f"validation/{band_keys()[band]}")
            assert sent[line["step"]] == pytest.approx(estimate["value"], rel=1e-6)
    assert [image.step for image in logged.Images("samples/1")] == [0, 6]
    text = logged.Tensors("run/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "learning_rate" in text
    assert str(tmp_path) not in text
    assert str(pictures.parent) not in text


def test_means_of_several_steps(tiny_model, pictures, tmp_path):
    folder = finish(config(tiny_model, pictures, every=4), tmp_path)
    losses = [line["loss"] for line in read_steps(folder.steps_file)]
    assert scalars(events(folder), "loss/weighted") == pytest.approx(
        {4: np.mean(losses[:4]), 6: np.mean(losses[4:])}, rel=1e-6
    )


def test_a_resumed_run_goes_on_without_doubles(tiny_model, pictures, tmp_path, monkeypatch):
    original = runner.run_due_work

    def die(job, folder, done, readers):
        original(job, folder, done, readers)
        if done == 3:  # after the checkpoint at 2
            raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run_due_work", die)
    with pytest.raises(KeyboardInterrupt):
        finish(config(tiny_model, pictures), tmp_path)
    monkeypatch.setattr(runner, "run_due_work", original)
    folder = finish(config(tiny_model, pictures), tmp_path, resume=True)
    lines = list(read_steps(folder.steps_file))
    sent = [(event.step, event.value) for event in events(folder).Scalars("loss/weighted")]
    assert sent == [(line["step"] + 1, pytest.approx(line["loss"], rel=1e-6)) for line in lines]


def test_a_run_is_the_same_with_trackers(tiny_model, pictures, tmp_path):
    tracked = finish(config(tiny_model, pictures), tmp_path / "a")
    plain = config(tiny_model, pictures).model_copy(update={"log": tiny.run_config(tiny_model, pictures).log})
    untracked = finish(plain, tmp_path / "b")
    for name in ("steps.jsonl", "validation.jsonl"):
        assert (tracked.path / name).read_bytes() == (untracked.path / name).read_bytes()
    results = [load_file(folder.path / "tiny.safetensors") for folder in (tracked, untracked)]
    assert all(torch.equal(tensor, results[1][name]) for name, tensor in results[0].items())
    assert not untracked.logs.exists()


def test_a_tracker_that_fails_on_the_way_stops_nothing(tiny_model, pictures, tmp_path, monkeypatch):
    """A server that goes away in the night costs no training: it is said once, and the rest is in the run folder."""
    log, sent = TensorBoardTracker.log, []

    def until_it_is_gone(self, values, step=None, **kwargs):
        sent.append(step)
        if step == 3:
            raise ConnectionError("the server is gone")
        return log(self, values, step, **kwargs)

    monkeypatch.setattr(TensorBoardTracker, "log", until_it_is_gone)
    with tiny.messages() as messages:
        outcome = runner.run(config(tiny_model, pictures), tmp_path)
    assert outcome.finished
    assert len(list(read_steps(outcome.folder.steps_file))) == 6
    assert sum("tensorboard has failed (the server is gone)" in line for line in messages) == 1
    assert sent[-1] == 3, "nothing more is sent to it"


def test_a_tracker_that_does_not_start_costs_no_run_that_is_there(tiny_model, pictures, tmp_path, monkeypatch):
    """Only a folder that was made a moment ago goes again; this one was stopped before its first checkpoint."""

    def fail(*_):
        raise ConnectionError("no server")

    with monkeypatch.context() as patch:
        patch.setattr(runner, "_train", lambda *_: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            finish(config(tiny_model, pictures), tmp_path / "there")
    (tmp_path / "there" / "tiny" / "notes.txt").write_text("mine")
    monkeypatch.setattr(TensorBoardTracker, "start", fail)
    for out, left in (("there", True), ("new", False)):
        with pytest.raises(UserError, match="tensorboard does not start: no server"):
            finish(config(tiny_model, pictures), tmp_path / out, resume=True)
        assert (tmp_path / out / "tiny").exists() == left
    assert (tmp_path / "there" / "tiny" / "notes.txt").read_text() == "mine"


def test_a_tracker_that_is_not_installed(tiny_model, pictures, tmp_path):
    if importlib.util.find_spec("wandb") is not None:
        pytest.skip("wandb is installed here")
    run = tiny.run_config(tiny_model, pictures, log={"trackers": ["wandb"]})
    with pytest.raises(UserError, match=r"wandb is not installed: pip install .*\[wandb\]\""):
        finish(run, tmp_path)
    assert not list(tmp_path.iterdir())


def test_impossible_logs(tiny_model, pictures):
    for log, message in (
        ({"every": 5}, "every is set but trackers is empty"),
        ({"project": "mine"}, "project is set but trackers is empty"),
        ({"trackers": ["tensorboard", "tensorboard"]}, "named twice"),
        ({"trackers": ["tensorbord"]}, "log.trackers"),
    ):
        with pytest.raises(UserError, match=message):
            tiny.run_config(tiny_model, pictures, log=log)
