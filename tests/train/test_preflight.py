"""Pre-flight: what it finds before the first step, and that a run is the same with it and without."""

import shutil
from collections import namedtuple

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from snrlab import UserError
from snrlab.runs.folder import RunFolder
from snrlab.train import runner
from snrlab.train.checks import preflight, rehearsal
from snrlab.train.inputs import cache_folder
from snrlab.train.job import prepare
from snrlab.train.outputs import training_metadata
from snrlab.train.outputs.export import export_result


def files_of(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


SETUPS = {
    "lora": {"train": {"text_encoder": True, "gradient_accumulation": 2}},
    "full": {"train": {"method": "full", "ema": 0.9}},
    "updates in the backward pass": {
        "model": {"precision": "bf16"},
        "train": {
            "method": "full", "optimizer": "adafactor", "weights": "bf16", "fused_backward": True, "max_grad_norm": 0.0,
        },
    },
    "dropout in the adapter": {"lora": {"rank": 2, "dropout": 0.5, "rank_dropout": 0.5, "module_dropout": 0.3}},
    "captions that vary": {"data": {"shuffle_tags": True, "tag_dropout": 0.5, "flip": True}},
}  # fmt: skip


@pytest.mark.parametrize("setup", SETUPS)
def test_a_run_is_the_same_with_and_without(setup, tiny_model, pictures, tmp_path, monkeypatch):
    sections = {"sample": {"prompts": ["a"], "steps": 2}, **SETUPS[setup]}
    sections["train"] = {"steps": 3, **sections.get("train", {})}
    config = tiny.run_config(tiny_model, pictures, **sections)
    contents = []
    for name in ("with", "without"):
        if name == "without":
            monkeypatch.setattr(runner, "preflight", lambda job, folder, thorough: [])
        contents.append(files_of(runner.run(config, tmp_path / name).folder.path))
    assert contents[0] == contents[1]


def test_nothing_that_a_run_computes_with_is_changed(tiny_model, pictures, tmp_path):
    job = prepare(tiny.run_config(tiny_model, pictures, train={"text_encoder": True}))
    before = {name: p.detach().clone() for name, p in job.parameters.items()}
    random = torch.get_rng_state().clone()
    preflight.preflight(job, RunFolder(tmp_path / "runs" / "tiny"))
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(before[name], p) and p.grad is None for name, p in job.parameters.items())
    assert not job.optimizer.state
    assert not list(tmp_path.iterdir())


def test_check_says_what_a_run_takes_and_leaves_nothing(tiny_model, pictures, tmp_path):
    config = tiny.run_config(tiny_model, pictures, train={"gradient_accumulation": 2, "steps": 9})
    with tiny.messages() as messages:
        runner.check(config, tmp_path / "some" / "where")
    assert "6 images / (batch 4 x 2 accumulated x 1 device) = 0.75 steps an epoch; 9 steps = 12 epochs" in messages
    assert not list(tmp_path.iterdir())


def test_a_model_without_a_finite_loss_is_refused(tiny_model, pictures, tmp_path):
    model = shutil.copytree(tiny_model, tmp_path / "model")
    file = model / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["conv_in.bias"] = torch.full_like(tensors["conv_in.bias"], float("nan"))
    save_file(tensors, file, metadata={"format": "pt"})
    for probe, message in ((True, "computes on your images is not a finite number"), (False, "first batch is nan")):
        config = tiny.run_config(model, pictures, model={"path": str(model), "probe": probe})
        with pytest.raises(UserError, match=message):
            runner.run(config, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_result_that_its_number_format_cannot_hold_is_refused(tiny_model, pictures, tmp_path):
    model = shutil.copytree(tiny_model, tmp_path / "model")
    file = model / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["decoder.conv_out.bias"] = torch.full_like(tensors["decoder.conv_out.bias"], 1e6)  # above fp16's largest
    save_file(tensors, file, metadata={"format": "pt"})
    config = tiny.run_config(model, pictures, train={"method": "full"}, output={"precision": "fp16"})
    with pytest.raises(UserError, match=r"decoder.conv_out.bias is not finite: .* output.precision"):
        runner.run(config, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_trial_of_the_result_does_not_read_the_whole_model(tiny_model, pictures, tmp_path, monkeypatch):
    """Hashes of a file of gigabytes take as long as reading it: the result needs them, the first step does not."""
    file, read = tiny_model / "vae" / "diffusion_pytorch_model.safetensors", []
    monkeypatch.setattr(training_metadata, "file_hashes", lambda path: read.append(path) or ("old", "new"))
    job = prepare(tiny.run_config(tiny_model, pictures, model={"vae": str(file)}))
    preflight.preflight(job, RunFolder(tmp_path / "runs" / "tiny"))
    assert not read
    export_result(job, tmp_path / "tiny.safetensors", 1)
    assert read == [file]


@pytest.mark.parametrize(("free", "refused"), [(2**30, False), (2**20, True)])
def test_a_disk_that_is_too_small_is_refused(free, refused, tiny_model, pictures, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(rehearsal.shutil, "disk_usage", lambda path: usage(2**40, 0, free))
    job = prepare(tiny.run_config(tiny_model, pictures))
    if not refused:
        preflight.preflight(job, RunFolder(tmp_path / "tiny"))
        return
    with pytest.raises(UserError, match=r"has 1.0 MB free, and the run would write 256"):
        preflight.preflight(job, RunFolder(tmp_path / "tiny"))
    assert not list(tmp_path.iterdir())


def test_a_file_where_the_folder_should_be(tiny_model, pictures, tmp_path):
    (tmp_path / "runs").write_text("mine")
    with pytest.raises(UserError, match="cannot be written"):
        preflight.preflight(prepare(tiny.run_config(tiny_model, pictures)), RunFolder(tmp_path / "runs" / "a" / "b"))


def test_a_cache_that_the_disk_has_no_room_for_is_said(tiny_model, pictures, tmp_path, monkeypatch):
    sections = {"data": {"cache": True, "cache_folder": str(tmp_path / "cache"), "flip": True}}
    config = tiny.run_config(tiny_model, pictures, **sections)
    usage = namedtuple("usage", "total used free")
    for free, warned in ((10**6, False), (10**4, True)):
        monkeypatch.setattr(cache_folder.shutil, "disk_usage", lambda path, free=free: usage(0, 0, free))
        with tiny.messages() as messages:
            job = prepare(config)
        assert any("data.cache may take up to" in line for line in messages) == warned
    monkeypatch.undo()
    size = cache_folder.cache_size(config, job.examples.items, job.components)
    kept = sum(f.stat().st_size for f in (tmp_path / "cache").rglob("*") if f.suffix == ".safetensors")
    assert 0.5 * size < kept < 1.5 * size
