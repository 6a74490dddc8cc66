"""What the options at the top of a run file, and the layout of a whole model, change."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

import tiny
import tiny_families
from effects import shows
from snrlab import UserError
from snrlab.model_files.header import read_header
from snrlab.models.storage.save_single_file import save_single_file
from snrlab.models.storage.source import load_model
from snrlab.train import runner
from snrlab.train.job import prepare
from snrlab.train.loop import steps

FULL = {"method": "full", "steps": 1, "checkpoint_every": 1}


@pytest.fixture(scope="module")
def single_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "model.safetensors"
    save_single_file(tiny_families.family("sd1"), path, None)
    return path


def finish(config, out):
    return runner.run(config, out)


@shows("name")
def test_the_name_is_that_of_folder_and_result(tiny_model, pictures, tmp_path):
    for name in ("run", "other"):
        outcome = finish(tiny.run_config(tiny_model, pictures, name=name, train={"steps": 1}), tmp_path)
        assert outcome.folder.result(outcome.config) == tmp_path / name / f"{name}.safetensors"
        assert read_header(tmp_path / name / f"{name}.safetensors").metadata["ss_output_name"] == name


@shows("seed")
def test_the_seed_decides_the_weights(tiny_model, pictures, tmp_path):
    results = []
    for out, seed in ((tmp_path / "a", 0), (tmp_path / "b", 0), (tmp_path / "c", 1)):
        outcome = finish(tiny.run_config(tiny_model, pictures, seed=seed, train={"steps": 1}), out)
        results.append(load_file(outcome.folder.result(outcome.config)))
    same = [all(torch.equal(t, other[n]) for n, t in results[0].items()) for other in results]
    assert same == [True, True, False]


@shows("output.format")
@pytest.mark.parametrize(
    ("base", "form", "one_file"),
    [("file", None, True), ("file", "diffusers", False), ("folder", None, False), ("folder", "single_file", True)],
)
def test_the_layout_of_a_whole_model(base, form, one_file, single_file, pictures, tmp_path):
    path = single_file
    if base == "folder":
        path = tmp_path / "model"
        path.mkdir()
        tiny.save_folder(load_model(single_file), path, torch.float32)
    output = {"format": form} if form else {}
    outcome = finish(tiny.run_config(path, pictures, train=FULL, output=output), tmp_path)
    result = outcome.folder.result(outcome.config)
    assert result.name == ("tiny.safetensors" if one_file else "tiny")
    assert result.is_file() == one_file
    trained, before = load_model(result).unet.state_dict(), load_model(single_file).unet.state_dict()
    assert not torch.equal(trained["conv_in.weight"], before["conv_in.weight"])
    if one_file:
        recipe = json.loads(read_header(result).metadata["snrlab.recipe"])
        assert recipe["prediction_type"] == "epsilon"
        assert read_header(result).metadata["modelspec.title"] == "tiny"


def test_equal_runs_give_equal_files(single_file, pictures, tmp_path):
    results = []
    for out in (tmp_path / "a", tmp_path / "b"):
        outcome = finish(tiny.run_config(single_file, pictures, train=FULL, output={"precision": "bf16"}), out)
        results.append(outcome.folder.result(outcome.config).read_bytes())
    assert results[0] == results[1]


def test_a_layout_without_a_place_for_the_model_is_refused_before_training(tiny_model, pictures, tmp_path):
    config = tiny.run_config(tiny_model, pictures, train=FULL, output={"format": "single_file"})
    with pytest.raises(UserError, match="has a vocabulary of its own"):
        finish(config, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_layout_of_a_whole_model_is_not_for_a_lora(tiny_model, pictures):
    with pytest.raises(UserError, match=r'output\.format applies to a whole model, but train\.method is "lora"'):
        tiny.run_config(tiny_model, pictures, output={"format": "single_file"})


@shows("step_seed")
def test_the_seed_of_steps_leaves_adapter_and_held_out_images(tiny_model, pictures):
    jobs = [
        prepare(tiny.run_config(tiny_model, pictures, seed=3, validation={"images": 2}, **extra))
        for extra in ({}, {"step_seed": 9}, {"step_seed": 3})
    ]
    weights = [[p.detach().clone() for p in job.parameters.values()] for job in jobs]
    assert all(torch.equal(a, b) for other in weights[1:] for a, b in zip(weights[0], other, strict=True))
    assert jobs[0].validation_set.names == jobs[1].validation_set.names
    drawn = [[step.timesteps.tolist() for step in steps(job)] for job in jobs]
    assert drawn[0] == drawn[2] != drawn[1]
