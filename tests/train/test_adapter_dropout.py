"""Dropout within the adapters: what is left out, how often, for whom, and that it can be drawn again."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import tiny
from snrlab.models.lora.adapter_dropout import AdapterDropout
from snrlab.train import runner
from snrlab.train.job import prepare
from snrlab.train.loop import steps

CPU = torch.device("cpu")
KINDS = {"neuron": {"neuron": 0.3}, "rank": {"rank": 0.3}, "module": {"module": 0.3}}


def attached(**parts):
    """Two down matrices that give ones: a linear layer of rank 5 and a convolution of rank 7."""
    linear, conv = nn.Linear(1, 5, bias=False), nn.Conv2d(1, 7, 3, padding=1, bias=False)
    for layer in (linear, conv):
        nn.init.zeros_(layer.weight)
    nn.init.ones_(linear.weight)
    conv.weight.data[:, :, 1, 1] = 1
    dropout = AdapterDropout(seed=1, total=4, **parts)
    dropout.attach([linear, conv])
    return dropout, linear, conv


def outputs(dropout, linear, conv, step=0, slots=(0, 1, 2, 3)):
    with dropout.at(step, np.array(slots), CPU):
        n = len(slots)
        return linear(torch.ones(n, 6, 1)), conv(torch.ones(n, 1, 4, 4)), linear(torch.ones(n, 1))


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_out(kind):
    made = attached(**KINDS[kind])
    kept = []
    for step in range(200):
        for h, spread in zip(outputs(*made, step), ((1,), (2, 3), ()), strict=True):
            scale = 1 if kind == "module" else 1 / 0.7
            assert set(np.round(h.unique().tolist(), 5)) <= {0.0, round(scale, 5)}
            if kind != "neuron" and spread:  # the same for every token and every pixel
                assert (h == h.mean(spread, keepdim=True)).all() or torch.allclose(h, h.mean(spread, keepdim=True))
            if kind == "module":
                assert all(len(example.unique()) == 1 for example in h)
            kept.append(float((h > 0).float().mean()))
    assert np.mean(kept) == pytest.approx(0.7, abs=0.02)
    if kind == "rank":
        h = torch.cat([outputs(*made, step)[0] for step in range(50)])
        correlation = np.corrcoef((h[:, 0] > 0).float().numpy().T)
        assert np.abs(correlation - np.eye(5)).max() < 0.25, "ranks are drawn apart"


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_a_draw_belongs_to_a_slot(kind):
    """Batch 4 equals 2 x 2; a step draws what it drew before; other steps, slots, layers and seeds differ."""
    made = attached(**KINDS[kind])
    whole = [torch.cat([outputs(*made, step)[i].flatten(1) for i in (0, 1)], dim=1) for step in range(30)]
    for step, output in enumerate(whole):
        halves = [outputs(*made, step, slots) for slots in ((0, 1), (2, 3))]
        again = torch.cat([torch.cat([h[i].flatten(1) for i in (0, 1)], dim=1) for h in halves])
        assert torch.equal(output, again)
    rows = torch.stack(whole)  # [step, slot, ...]
    assert not torch.equal(rows[0], rows[1])
    assert not torch.equal(rows[:, 0], rows[:, 1])
    assert not torch.equal(rows[:, :, 0] > 0, rows[:, :, -1] > 0)
    other = attached(**KINDS[kind])
    other[0].seed = 2
    assert any(not torch.equal(outputs(*other, s)[0], outputs(*made, s)[0]) for s in range(30))


@torch.no_grad()
def test_rows_of_one_caption_share_their_draw():
    """A caption of 150 tokens is two rows in the text encoder."""
    dropout, linear, _ = attached(rank=0.5)
    with dropout.at(0, np.array([0, 1]), CPU):
        two, four = linear(torch.ones(2, 6, 1)), linear(torch.ones(4, 6, 1))
    assert torch.equal(four, two.repeat_interleave(2, 0))
    assert not torch.equal(two[0], two[1])


@torch.no_grad()
def test_nothing_is_left_out_elsewhere():
    dropout, linear, conv = attached(neuron=0.5, rank=0.5, module=0.5)
    for _ in range(2):
        assert (linear(torch.ones(3, 1)) == 1).all()
        assert (conv(torch.ones(3, 1, 4, 4)) == 1).all()
        outputs(dropout, linear, conv)


LORA = {"rank": 3, "dropout": 0.2, "rank_dropout": 0.3, "module_dropout": 0.2, "max_norm": 0.05, "loraplus_ratio": 2.0,
        "layers": ["attention", "feed_forward", "convolution"]}  # fmt: skip


def test_accumulated_batches_are_one_batch(tiny_model, pictures):
    """Gradients of 4 and of 2 x 2, dropouts in, with a text encoder in training."""
    gradients = []
    for batch, accumulation in ((4, 1), (2, 2)):
        train = {"batch_size": batch, "gradient_accumulation": accumulation, "text_encoder": True}
        job = prepare(tiny.run_config(tiny_model, pictures, train=train, lora=LORA))
        seen = {}
        job.optimizer.step = lambda job=job, seen=seen: seen.update(
            {n: p.grad.clone() for n, p in job.parameters.items()}
        )
        next(steps(job))
        gradients.append(seen)
    assert all(torch.allclose(gradients[0][name], gradients[1][name], atol=1e-6) for name in gradients[0])
    assert np.mean([bool(gradients[0][name].any()) for name in gradients[0] if ".lora_B." in name]) > 0.9


def test_gradient_checkpointing_draws_the_same(tiny_model, pictures):
    """A layer that is computed a second time, in the backward pass, leaves out the same."""
    norms = []
    for again in (False, True):
        job = prepare(tiny.run_config(tiny_model, pictures, lora=LORA))
        if again:
            job.components.unet.enable_gradient_checkpointing()
            job.components.unet.train()
        norms.append([step.grad_norm for _, step in zip(range(3), steps(job), strict=False)])
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)


@pytest.mark.parametrize("lora", [LORA, {"rank": 3, "dora": True, "max_norm": 0.05}], ids=["dropouts", "dora"])
def test_a_resumed_run_is_the_uninterrupted_one(lora, tiny_model, pictures, tmp_path, monkeypatch):
    train = {"text_encoder": True, "checkpoint_every": 1, "text_encoder_learning_rate": 1e-3}
    config = tiny.run_config(tiny_model, pictures, train=train, lora=lora)
    whole = runner.run(config, tmp_path / "whole")

    def dying(job, start=0):
        for step in steps(job, start):
            yield step
            if step.index == 2:
                raise SystemExit

    monkeypatch.setattr(runner, "steps", dying)
    with pytest.raises(SystemExit):
        runner.run(config, tmp_path / "broken")
    monkeypatch.setattr(runner, "steps", steps)
    resumed = runner.run(config, tmp_path / "broken", resume=True)
    one, other = (load_file(outcome.folder.result(config)) for outcome in (whole, resumed))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert whole.folder.steps_file.read_bytes() == resumed.folder.steps_file.read_bytes()
