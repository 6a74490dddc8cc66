"""Whole runs on a tiny real model: what is logged is what was optimised, and it can be interrupted anywhere."""

import json
import math
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import tiny
from drawing import all_of, default, entry_id, stated_for
from snrlab import UserError
from snrlab.config import parse_run
from snrlab.config.sections.lora import LoraLayers
from snrlab.core.findings.recipe_findings import findings
from snrlab.core.perturbation import PERTURBATIONS
from snrlab.core.recipe import Recipe
from snrlab.core.weights.weighting import WEIGHTINGS
from snrlab.models.lora.adapters import lora_parameters, trained_lora
from snrlab.models.lora.lora_file import kohya_tensors
from snrlab.pictures.ddim import sampler
from snrlab.train import runner
from snrlab.train.job import prepare
from snrlab.train.loop import steps
from snrlab.train.resume import checkpoint

METHODS = ("lora", "full")
LAYERS = get_args(LoraLayers)


def log_of(folder):
    return [json.loads(line) for line in folder.steps_file.read_text().splitlines()]


def finish(config, out, **kwargs):
    return runner.run(config, out, **kwargs)


def tensors_of(outcome):
    result = outcome.folder.result(outcome.config)
    return load_file(result if result.is_file() else result / "unet" / "diffusion_pytorch_model.safetensors")


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def section(entry):
    return {"name": entry.name, **default(entry).params}


@pytest.mark.parametrize("entry", [e for e in all_of(WEIGHTINGS) if stated_for(e) != "v_prediction"],
                         ids=entry_id)  # fmt: skip
def test_the_log_holds_what_was_optimised(entry, tiny_model, pictures, tmp_path):
    recipe = {"weighting": [section(entry), section(all_of(WEIGHTINGS)[0])], "perturbation":
              section(all_of(PERTURBATIONS)[0])}  # fmt: skip
    config = tiny.run_config(tiny_model, pictures, recipe=recipe, train={"steps": 3, "gradient_accumulation": 2})
    outcome = finish(config, tmp_path)
    tables = Recipe(weighting=tuple(config.recipe.weighting), perturbation=config.recipe.perturbation).tables()
    lines = log_of(outcome.folder)
    assert [line["step"] for line in lines] == [0, 1, 2]
    for line in lines:
        t, mse, weight = (np.array(line[k]) for k in ("t", "mse", "weight"))
        assert len(t) == 8
        assert weight == pytest.approx(tables.weight[t], rel=1e-6)
        assert line["loss"] == pytest.approx((tables.weight[t] * mse).mean(), rel=1e-5)
        assert sum(v is not None for v in line["bands"].values()) >= 1


def test_the_gradient_is_that_of_the_logged_loss(tiny_model, pictures):
    """One step of plain gradient descent on the weighted loss, done by hand, is what the loop does."""
    weighting = [section(all_of(WEIGHTINGS)[4])]
    config = tiny.run_config(
        tiny_model, pictures, recipe={"weighting": weighting}, train={"gradient_accumulation": 2, "method": "full"}
    )
    job = prepare(config)
    wanted = {}
    slots = np.arange(job.total)
    batch = job.examples.batch(job.components, 0, slots, job.device)
    losses = job.objective.losses(
        lambda x_t, t: job.components.unet(x_t, t, encoder_hidden_states=batch.text.hidden).sample, batch, 0, slots
    )
    losses.loss.mean().backward()
    wanted = {name: p.grad.clone() for name, p in job.parameters.items()}
    job.optimizer.zero_grad()
    seen = {}
    real = job.optimizer.step

    def step():
        seen.update({name: p.grad.clone() for name, p in job.parameters.items()})
        real()

    job.optimizer.step = step
    norm = math.sqrt(sum(float(g.square().sum()) for g in wanted.values()))
    first = next(steps(job))
    assert first.grad_norm == pytest.approx(norm, rel=1e-4)
    scale = min(1, config.train.max_grad_norm / norm)
    for name, grad in wanted.items():
        assert torch.allclose(seen[name], grad * scale, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_accumulated_is_the_same_as_one_batch(method, tiny_model, pictures, tmp_path):
    results = []
    for batch, passes in ((4, 1), (2, 2), (1, 4)):
        train = {"method": method, "batch_size": batch, "gradient_accumulation": passes, "learning_rate": 1e-4}
        outcome = finish(tiny.run_config(tiny_model, pictures, train=train), tmp_path / str(passes))
        results.append((log_of(outcome.folder), tensors_of(outcome)))
    for log, tensors in results[1:]:
        for one, other in zip(results[0][0], log, strict=True):
            assert one["t"] == other["t"]
            assert one["mse"] == pytest.approx(other["mse"], rel=1e-3)
        for name, tensor in tensors.items():
            assert torch.allclose(tensor, results[0][1][name], atol=1e-4)


@pytest.fixture(scope="module", params=[(m, text) for m in METHODS for text in (False, True)],
                ids=lambda param: f"{param[0]}-{'with-text' if param[1] else 'unet'}")  # fmt: skip
def whole(request, tiny_model, pictures, tmp_path_factory):
    """A run that nothing disturbs."""
    method, text_encoder = request.param
    train = {"method": method, "text_encoder": text_encoder, "warmup": 2, "ema": 0.9}
    data = {"flip": True, "shuffle_tags": True, "tag_dropout": 0.2}
    return finish(tiny.run_config(tiny_model, pictures, train=train, data=data), tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("stop", [1, 2, 3, 5])
def test_resuming_is_exact(whole, stop, tmp_path, monkeypatch):
    """A run that dies after any step and goes on ends with the same bits and the same log."""
    if stop != 3 and not whole.config.train.text_encoder:
        return  # the UNet is trained beside a text encoder too; alone, once is enough

    def dying(job, start=0):
        for step in steps(job, start):
            yield step
            if step.index + 1 == stop:
                raise SystemExit

    monkeypatch.setattr(runner, "steps", dying)
    with pytest.raises(SystemExit):
        finish(whole.config, tmp_path)
    monkeypatch.setattr(runner, "steps", steps)
    resumed = finish(whole.config, tmp_path, resume=True)
    assert same(tensors_of(whole), tensors_of(resumed))
    assert whole.folder.steps_file.read_bytes() == resumed.folder.steps_file.read_bytes()


def test_everything_a_step_changes_is_in_the_checkpoint(tiny_model, pictures):
    job = prepare(tiny.run_config(tiny_model, pictures, train={"method": "full", "text_encoder": True}))

    def weights():
        parts = ("unet", "text_encoder", "vae")
        return {f"{p}.{k}": v.clone() for p in parts for k, v in getattr(job.components, p).state_dict().items()}

    before = weights()
    next(steps(job))
    after = weights()
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    saved = {name.removeprefix("weight/") for name in checkpoint.state(job) if name.startswith("weight/")}
    assert changed <= saved
    kept = {value.data_ptr() for p in job.parameters.values() for value in job.optimizer.state[p].values()}
    assert kept == {v.data_ptr() for name, v in checkpoint.state(job).items() if name.startswith("optimizer/")}


@pytest.mark.parametrize("method", METHODS)
def test_equal_runs_give_equal_bytes(method, tiny_model, pictures, tmp_path):
    config = tiny.run_config(
        tiny_model, pictures, train={"method": method, "steps": 3}, sample={"prompts": ["a"], "steps": 2}
    )
    contents = []
    for out in ("a", "b"):
        folder = finish(config, tmp_path / out).folder.path
        contents.append({p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()})
    assert contents[0].keys() == contents[1].keys()
    assert {name for name in contents[0] if contents[0][name] != contents[1][name]} == set()


@pytest.fixture(scope="module")
def plain_step(tiny_model, pictures):
    """The first step without any weighting."""
    return next(steps(prepare(tiny.run_config(tiny_model, pictures, recipe={"weighting": []}))))


@pytest.mark.parametrize("entry", all_of(WEIGHTINGS), ids=entry_id)
def test_other_recipes_train_on_the_same_draws(entry, plain_step, tiny_model, pictures):
    recipe = Recipe(weighting=(default(entry),))
    if any(f.grade == "error" for f in findings(recipe)):
        return
    step = next(steps(prepare(tiny.run_config(tiny_model, pictures, recipe={"weighting": [section(entry)]}))))
    assert torch.equal(plain_step.timesteps, step.timesteps)
    assert torch.equal(plain_step.mse, step.mse), "the first step's unweighted loss does not depend on the recipe"


def test_the_lora_file_is_the_trained_update(tiny_model, pictures):
    """down, up and alpha of the file give the update that peft applies."""
    config = tiny.run_config(tiny_model, pictures, lora={"rank": 2, "alpha": 6.0, "layers": list(LAYERS)})
    job = prepare(config)
    for _ in steps(job):
        pass
    tensors = kohya_tensors(trained_lora(job.components), "sd1", job.components.unet.config, torch.float32)
    keys = {k.split(".")[0] for k in tensors}
    layers = {n: m for n, m in job.components.unet.named_modules() if hasattr(m, "lora_A")}
    assert len(keys) == len(layers) > 0
    for name, layer in layers.items():
        key = "lora_unet_" + name.replace(".", "_")
        down, up, alpha = (tensors[f"{key}.{part}"] for part in ("lora_down.weight", "lora_up.weight", "alpha"))
        update = (up.flatten(1) @ down.flatten(1)).reshape(layer.weight.shape) * (float(alpha) / down.shape[0])
        assert torch.allclose(update, layer.get_delta_weight("default"), atol=1e-6)
        assert update.abs().max() > 0
    assert all(p.dtype == torch.float32 for _, p in lora_parameters(job.components))


@pytest.mark.parametrize(
    "recipe",
    [Recipe(), Recipe(prediction_type="v_prediction", zero_terminal_snr=True)],
    ids=["epsilon", "v-zero-terminal"],
)
def test_the_sampler_runs_over_the_trained_schedule(recipe):
    made = sampler(recipe.noise_schedule(), recipe.prediction_type)
    wanted = recipe.noise_schedule().alphas_cumprod
    assert made.alphas_cumprod.numpy() == pytest.approx(wanted, rel=1e-3, abs=1e-7)
    made.set_timesteps(10)
    assert int(made.timesteps[0]) == len(wanted) - 1
    assert made.config.prediction_type == recipe.prediction_type


def test_unknown_keys_are_errors(tiny_model, pictures):
    base = tiny.run_dict(tiny_model, pictures)
    for path in (("surprise",), ("train", "surprise"), ("recipe", "surprise")):
        data = json.loads(json.dumps(base))
        table = data
        for key in path[:-1]:
            table = table.setdefault(key, {})
        table[path[-1]] = 1
        with pytest.raises(UserError, match="surprise"):
            parse_run(data)


def test_warm_up_and_decay(tiny_model, pictures):
    train = {"steps": 8, "warmup": 3, "learning_rate": 1e-3}
    rates = [s.learning_rate for s in steps(prepare(tiny.run_config(tiny_model, pictures, train=train)))]
    assert rates[2] == pytest.approx(1e-3)
    assert rates[0] == pytest.approx(1e-3 / 3)
    assert all(a > b for a, b in pairwise(rates[3:]))
    assert rates[3] == pytest.approx(1e-3)
