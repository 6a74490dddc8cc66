"""Each option of [train] against its default."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import tiny
from effects import shows
from snrlab.config import parse_run
from snrlab.train import runner
from snrlab.train.checks.memory import estimate
from snrlab.train.job import prepare
from snrlab.train.loop import steps

BF16 = {"precision": "bf16"}


@pytest.fixture
def job_of(tiny_model, pictures):
    def job(model=None, **train):
        return prepare(tiny.run_config(tiny_model, pictures, train=train, model=model or {}))

    return job


@pytest.fixture
def finished(tiny_model, pictures, tmp_path):
    def finish(name, **train):
        config = tiny.run_config(tiny_model, pictures, train=train)
        return runner.run(config, tmp_path / name)

    return finish


def weights(job):
    return torch.cat([p.detach().float().flatten() for p in job.parameters.values()])


def first_step(job):
    """(the step, the update of all weights)."""
    before = weights(job)
    step = next(steps(job))
    return step, weights(job) - before


@shows("train.method")
def test_method(finished):
    lora, full = finished("lora", steps=1), finished("full", steps=1, method="full")
    assert load_file(lora.folder.result(lora.config)).keys()
    assert (full.folder.result(full.config) / "unet" / "diffusion_pytorch_model.safetensors").is_file()


@shows("train.text_encoder")
def test_text_encoder(job_of):
    unet, both = job_of(), job_of(text_encoder=True)
    assert not [name for name in unet.parameters if name.startswith("text_encoder.")]
    names = [name for name in both.parameters if name.startswith("text_encoder.") and "lora_B" in name]
    assert names
    next(steps(both))
    assert all(both.parameters[name].abs().max() > 0 for name in names)


@shows("train.steps")
def test_steps(job_of):
    assert len(list(steps(job_of(steps=2)))) == 2


@shows("train.epochs")
def test_epochs(tiny_model, pictures, tmp_path):
    data = tiny.run_dict(tiny_model, pictures, train={"epochs": 2})
    del data["train"]["steps"]
    outcome = runner.run(parse_run(data), tmp_path)
    logged = [json.loads(line) for line in outcome.folder.steps_file.read_text().splitlines()]
    assert [line["epoch"] for line in logged] == [0, 0, 1], "6 pictures twice, in batches of 4"
    resolved = outcome.folder.read_config().train
    assert (resolved.steps, resolved.epochs) == (3, None)
    assert logged[-1]["lr"] < logged[0]["lr"] / 2, "the schedule ends with the epochs"


@shows("train.batch_size")
def test_batch_size(job_of):
    assert [len(first_step(job_of(batch_size=n))[0].timesteps) for n in (1, 3)] == [1, 3]


@shows("train.gradient_accumulation")
def test_gradient_accumulation(job_of):
    one, several, large = (job_of(batch_size=2), job_of(batch_size=2, gradient_accumulation=2), job_of(batch_size=4))
    updates = [first_step(job) for job in (one, several, large)]
    assert [len(step.timesteps) for step, _ in updates] == [2, 4, 4]
    assert torch.equal(updates[1][0].timesteps, updates[2][0].timesteps)
    assert not torch.equal(updates[0][1], updates[1][1])
    assert torch.allclose(updates[1][1], updates[2][1], atol=1e-4)


@shows("train.learning_rate")
def test_learning_rate(job_of):
    small, large = (first_step(job_of(learning_rate=rate))[1] for rate in (1e-3, 2e-3))
    assert torch.allclose(large, 2 * small, rtol=1e-3, atol=1e-7)


@shows("train.optimizer")
def test_optimizer(job_of):
    _, usual = first_step(job_of())
    for other in ("adafactor", {"name": "custom", "path": "torch.optim:SGD"}):
        _, update = first_step(job_of(optimizer=other))
        assert not torch.allclose(update, usual)
    _, decayed = first_step(job_of(optimizer={"name": "adamw", "weight_decay": 5.0}))
    assert not torch.allclose(decayed, usual)


@shows("train.warmup")
@pytest.mark.parametrize("warmup", [4, 0.5, "50%"])
def test_warmup(job_of, warmup):
    rates = [step.learning_rate for step in steps(job_of(steps=8, warmup=warmup, lr_schedule="constant"))]
    assert rates == pytest.approx([0.0025, 0.005, 0.0075, 0.01, 0.01, 0.01, 0.01, 0.01])
    assert [step.learning_rate for step in steps(job_of(steps=3, lr_schedule="constant"))] == [0.01] * 3


@shows("train.lr_schedule")
def test_lr_schedule(job_of):
    names = ("cosine", "linear", "constant")
    rates = {name: [s.learning_rate for s in steps(job_of(steps=4, lr_schedule=name))] for name in names}
    assert rates["linear"] == pytest.approx([0.01, 0.0075, 0.005, 0.0025])
    assert rates["constant"] == [0.01] * 4
    assert rates["cosine"][2] == pytest.approx(0.005)
    assert rates["cosine"][1] > rates["linear"][1]


@shows("train.loss")
def test_loss(job_of):
    usual, _ = first_step(job_of())
    assert torch.equal(usual.losses, usual.weight * usual.mse)
    for loss in ("l1", "huber", {"name": "smooth_l1", "c_schedule": "constant", "c": 0.5}):
        step, _ = first_step(job_of(loss=loss))
        assert torch.equal(step.mse, usual.mse), "what is shown as unweighted loss stays the squared error"
        assert not torch.allclose(step.losses, usual.losses)
        assert step.loss == pytest.approx(float(step.losses.mean()))


@shows("train.max_grad_norm")
def test_max_grad_norm(job_of):
    plain = {"optimizer": {"name": "custom", "path": "torch.optim:SGD"}, "lr_schedule": "constant"}
    (free, free_update), (limited, update) = (first_step(job_of(max_grad_norm=n, **plain)) for n in (0.0, 1e-3))
    assert limited.grad_norm == free.grad_norm > 1e-3, "it is logged as it was"
    assert float(free_update.norm()) == pytest.approx(0.01 * free.grad_norm, rel=1e-3)
    assert float(update.norm()) == pytest.approx(0.01 * 1e-3, rel=1e-2)


def test_without_a_limit_gradients_are_not_scaled(job_of, monkeypatch):
    (_, kept), (_, scaled) = (first_step(job_of(max_grad_norm=n)) for n in (0.0, 1e30))
    assert torch.equal(kept, scaled), "the limit multiplied them by 1"
    monkeypatch.delattr(torch.nn.utils, "clip_grads_with_norm_")
    first_step(job_of(max_grad_norm=0.0))


@shows("train.ema")
def test_ema(job_of):
    plain, averaged = job_of(), job_of(ema=0.9)
    for job in (plain, averaged):
        list(steps(job))
        trained = weights(job)
        with job.averaged():
            used = weights(job)
        assert torch.equal(trained, used) == (job is plain)
    assert torch.equal(weights(plain), weights(averaged))


@shows("train.checkpoint_every")
def test_checkpoint_every(finished):
    names = {
        every: sorted(
            p.name for p in finished(str(every), steps=5, checkpoint_every=every).folder.checkpoints.iterdir()
        )
        for every in (3, 100)
    }
    assert names[3] == ["step-00000003.safetensors", "step-00000005.safetensors"]
    assert names[100] == ["step-00000005.safetensors"]


def saved_bytes(job):
    """Bytes that autograd keeps from the forward pass of the first step."""
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    slots = np.arange(job.config.train.batch_size)
    batch = job.examples.batch(job.components, 0, slots, job.device)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        job.components.unet(batch.x0, torch.zeros(len(slots)), encoder_hidden_states=batch.text.hidden)
    return sum(kept.values()) - sum(p.nbytes for p in job.components.unet.parameters())


@shows("train.gradient_checkpointing")
@pytest.mark.parametrize("method", ["lora", "full"])
def test_gradient_checkpointing(job_of, method):
    plain, thrifty = (job_of(method=method, text_encoder=True, gradient_checkpointing=on) for on in (False, True))
    assert saved_bytes(thrifty) < 0.6 * saved_bytes(plain)
    assert estimate(thrifty).activations < estimate(plain).activations
    updates = [first_step(job)[1] for job in (plain, thrifty)]
    assert torch.equal(*updates)


@shows("train.weights")
def test_weights(job_of):
    whole, half = job_of(BF16, method="full"), job_of(BF16, method="full", weights="bf16")
    assert {p.dtype for p in half.parameters.values()} == {torch.bfloat16}
    assert sum(p.nbytes for p in half.parameters.values()) == sum(p.nbytes for p in whole.parameters.values()) / 2
    losses = [[step.loss for step in steps(job)] for job in (whole, half)]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)


@shows("train.weights")
def test_small_updates_of_bf16_weights_are_not_lost(job_of):
    """At a rate far below what bf16 can hold, the weights still go as far as in fp32, on average."""
    options = {"method": "full", "learning_rate": 1e-5, "lr_schedule": "constant", "steps": 20}
    jobs = job_of(BF16, **options), job_of(BF16, weights="bf16", **options)
    large = weights(jobs[0]).abs() > 0.05  # half a bf16 step is 2.4e-4 at least there
    moved = []
    for job in jobs:
        before = weights(job)
        list(steps(job))
        moved.append((weights(job) - before)[large])
    exact, rounded = moved
    assert float(exact.abs().max()) < 2.4e-4
    assert len(exact) > 10_000
    assert float(rounded @ exact / (exact @ exact)) == pytest.approx(1, abs=0.15)


@shows("train.fused_backward")
def test_fused_backward(job_of):
    options = {"method": "full", "max_grad_norm": 0.0}
    plain, fused = job_of(**options), job_of(fused_backward=True, **options)
    left = {}
    for name, job in (("plain", plain), ("fused", fused)):
        update = job.optimizer.step

        def step(name=name, job=job, update=update):
            left[name] = sum(p.grad is not None for p in job.parameters.values())
            update()

        job.optimizer.step = step
        next(steps(job))
    assert left == {"plain": len(plain.parameters), "fused": 0}
    assert torch.equal(weights(plain), weights(fused))
    assert estimate(fused).gradients < 0.1 * estimate(plain).gradients
