"""Pictures of mixed sizes train end to end, and a run that dies goes on to the bit."""

import json

import pytest
import torch
from safetensors.torch import load_file

import tiny
from encoding import BUCKETS, save_mixed
from snrlab.train import runner
from snrlab.train.loop import steps

pytestmark = pytest.mark.numeric


def finish(config, out, **kwargs):
    return runner.run(config, out, **kwargs)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    return save_mixed(tmp_path_factory.mktemp("data") / "mixed")


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({}, marks=pytest.mark.long, id="plain"),
        pytest.param({"random_crop": True, "flip": True, "shuffle_tags": True}, id="drawn"),
    ],
)
def test_mixed_sizes_train_and_resume_to_the_bit(more, tiny_model, mixed, tmp_path, monkeypatch):
    kept = {} if more else {"cache": True, "cache_folder": str(tmp_path / "cache")}
    validation = {"images": 2, "every": 2}
    config = tiny.run_config(tiny_model, mixed, data={**BUCKETS, **more, **kept}, validation=validation)
    whole = finish(config, tmp_path / "whole")
    lines = [json.loads(line) for line in whole.folder.steps_file.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [0, 1, 2, 3, 4, 5], "four images left to train on, four to a step"

    def dying(job, start=0):
        for step in steps(job, start):
            yield step
            if step.index == 2:
                raise SystemExit

    monkeypatch.setattr(runner, "steps", dying)
    with pytest.raises(SystemExit):
        finish(config, tmp_path / "broken")
    monkeypatch.setattr(runner, "steps", steps)
    resumed = finish(config, tmp_path / "broken", resume=True)
    for name in ("steps_file", "validation_file"):
        assert getattr(whole.folder, name).read_bytes() == getattr(resumed.folder, name).read_bytes()
    first, second = (load_file(o.folder.result(o.config)) for o in (whole, resumed))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
