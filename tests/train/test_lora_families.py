"""A LoRA trained on each family, all networks at once: its file is the model that was trained, and a run resumes."""

import pytest
import torch
from safetensors.torch import load_file

import adapted
import tiny
import tiny_families
from adapted import CONV
from snrlab.evaluate.open_model import open_model
from snrlab.train import runner
from snrlab.train.job import prepare
from snrlab.train.loop import steps
from snrlab.train.outputs.export import export_result

pytestmark = pytest.mark.numeric

FAMILIES = ["sd1", "sd2", "sdxl"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {name: tiny_families.save_family(folder / name, name) for name in FAMILIES}


def config(models, family, pictures, **sections):
    train = {"steps": 3, "text_encoder": True, "text_encoder_2": family == "sdxl", "learning_rate": 3e-2}
    lora = {"rank": 2, "alpha": 1.0, "layers": CONV, "conv_rank": 3}
    return tiny.run_config(models[family], pictures, **{"train": train, "lora": lora, **sections})


@pytest.mark.parametrize("family", FAMILIES)
def test_diffusers_draws_with_the_file_what_was_trained(family, models, pictures, tmp_path):
    # so large that every self-attention has four tokens or more: to a single one nothing can be given more or less
    # attention, so the gradients of its to_q and to_k are zero, or rounding that Adam makes a step of
    job = prepare(config(models, family, pictures, data={"resolution": 128}))
    before = {name: p.detach().clone() for name, p in job.parameters.items()}
    for _ in steps(job):
        pass
    still = [n for n, p in job.parameters.items() if torch.equal(p, before[n]) and ".lora_B." in n]
    # a layer past the one that captions are read from has no part in anything; kohya's file has it all the same
    assert all("text_encoder" in name and ".layers.3." in name for name in still), still
    export_result(job, tmp_path / "lora.safetensors", 3)
    other = tiny_families.family(family)
    other.freeze()
    plain = adapted.predict(other)
    adapted.pipeline(other).load_lora_weights(str(tmp_path / "lora.safetensors"))
    trained = adapted.predict(job.components)
    assert torch.allclose(adapted.predict(other), trained, atol=1e-5)
    assert (plain - trained).abs().max() > 1e-3
    prefixes = {key.split("_")[1] for key in load_file(tmp_path / "lora.safetensors")}
    assert prefixes == ({"unet", "te1", "te2"} if family == "sdxl" else {"unet", "te"})


@pytest.mark.long
@pytest.mark.parametrize("family", ["sdxl"])
def test_a_resumed_run_is_the_uninterrupted_one(family, models, pictures, tmp_path, monkeypatch):
    """With networks that have layers without any gradient."""
    lora = {"rank": 2, "dropout": 0.2, "rank_dropout": 0.2, "module_dropout": 0.2}
    train = {"steps": 4, "text_encoder": True, "text_encoder_2": True, "checkpoint_every": 1, "batch_size": 2}
    chosen = config(models, family, pictures, lora=lora, train=train)
    whole = runner.run(chosen, tmp_path / "whole")

    def dying(job, start=0):
        for step in steps(job, start):
            yield step
            if step.index == 1:
                raise SystemExit

    monkeypatch.setattr(runner, "steps", dying)
    with pytest.raises(SystemExit):
        runner.run(chosen, tmp_path / "broken")
    monkeypatch.setattr(runner, "steps", steps)
    resumed = runner.run(chosen, tmp_path / "broken", resume=True)
    one, other = (load_file(outcome.folder.result(chosen)) for outcome in (whole, resumed))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.long
@pytest.mark.parametrize(
    "lora",
    [{"dora": True}, {"block_ranks": {"mid_block": 3}, "block_alphas": {"up_blocks": 1.0}}],
    ids=["dora", "blocks"],
)
def test_pictures_of_a_finished_run_are_those_of_the_training(lora, models, pictures, tmp_path):
    """Also where diffusers by itself would read the file in kohya's layout otherwise."""
    train = {"steps": 3, "learning_rate": 3e-2}
    chosen = tiny.run_config(models["sd1"], pictures, train=train, lora={"rank": 2, **lora}, sample={"prompts": ["a"]})
    outcome = runner.run(chosen, tmp_path)
    job = prepare(chosen)
    for _ in steps(job):
        pass
    saved = open_model(outcome.folder.path)
    trained, again = adapted.predict(job.components), adapted.predict(saved.components)
    assert torch.allclose(again, trained, atol=1e-5)
    assert (adapted.predict(adapted.fresh("sd1")) - trained).abs().max() > 1e-3
