"""What every optimizer must do: resume to the bit, and cost the memory it says. No entry is named here."""

from functools import partial

import numpy as np
import pytest
import torch

import tiny
from drawing import all_of, default, entry_id
from snrlab.core.lr_schedules import LR_SCHEDULES
from snrlab.core.registries.tensor_registries import OPTIMIZERS
from snrlab.models.denoise import denoise
from snrlab.train.job import prepare
from snrlab.train.loop import steps
from snrlab.train.optim.optimizer import named_optimizers
from snrlab.train.optim.rounding import generator, stochastic_bf16
from snrlab.train.resume import checkpoint

every_optimizer = pytest.mark.parametrize("entry", all_of(OPTIMIZERS), ids=entry_id)
ONE_BY_ONE = [entry for entry in all_of(OPTIMIZERS) if entry.properties.one_by_one]
each_one_by_one = pytest.mark.parametrize("entry", ONE_BY_ONE, ids=entry_id)
FUSED = {"fused_backward": True, "max_grad_norm": 0.0, "method": "full"}
HALF = {"weights": "bf16", "method": "full"}


def job_of(entry, model, pictures, **options):
    """A run with an optimizer, and with what its properties ask for."""
    if entry.properties.requires:
        pytest.importorskip(entry.properties.requires)
    if entry.properties.paged:
        pytest.skip("needs a GPU")
    train = {"optimizer": default(entry)}
    if entry.properties.finds_rate:
        train["learning_rate"] = 1.0
    if entry.properties.own_schedule:
        train["lr_schedule"] = next(name for name, e in LR_SCHEDULES.items() if e.properties.flat)
    precision = options.get("weights", "fp32")
    return prepare(tiny.run_config(model, pictures, train=train | options, model={"precision": precision}))


def run(job, start=0, stop=None):
    for step in steps(job, start):
        if step.index + 1 == stop:
            return


def state(job):
    return {name: tensor.clone() for name, tensor in checkpoint.state(job).items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a)


@pytest.mark.parametrize("options", [{}, FUSED, HALF], ids=["together", "fused", "bf16"])
@every_optimizer
def test_resuming_is_exact(entry, options, tiny_model, pictures, tmp_path):
    if options and entry not in ONE_BY_ONE:
        return
    whole = job_of(entry, tiny_model, pictures, **options)
    for step in steps(whole):
        if step.index + 1 == 3:
            checkpoint.save_checkpoint(whole, tmp_path, 3)
            saved = state(whole)
    second = job_of(entry, tiny_model, pictures, **options)
    assert checkpoint.restore(second, tmp_path) == 3
    assert same(saved, state(second))
    run(second, 3)
    assert same(state(whole), state(second))


@every_optimizer
def test_it_trains_every_weight_and_its_state_is_as_large_as_it_says(entry, tiny_model, pictures):
    job = job_of(entry, tiny_model, pictures, method="full")
    before = {name: p.detach().clone() for name, p in job.parameters.items()}
    run(job, stop=2)
    still = [name for name, p in job.parameters.items() if torch.equal(before[name], p)]
    assert not still
    shapes = [tuple(p.shape) for p in job.parameters.values()]
    stated_bytes = sum(entry.properties.state_bytes(shape) for shape in shapes)
    held = {
        v.data_ptr(): v.nbytes
        for p in job.parameters.values()
        for v in job.optimizer.state[p].values()
        if isinstance(v, torch.Tensor)
    }
    if "path" in entry.parameters:
        assert sum(held.values()) <= stated_bytes, "of an unknown one, what is usual"
    else:
        assert sum(held.values()) == pytest.approx(stated_bytes, rel=0.01), "tables that all weights share are left out"


@each_one_by_one
def test_updating_in_the_backward_pass_changes_no_bit(entry, tiny_model, pictures):
    plain = job_of(entry, tiny_model, pictures, method="full", max_grad_norm=0.0, text_encoder=True)
    fused = job_of(entry, tiny_model, pictures, **FUSED, text_encoder=True)
    norms = [[s.grad_norm for s in steps(job)] for job in (plain, fused)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)
    assert same(dict(plain.parameters), dict(fused.parameters))
    assert all(p.grad is None for p in fused.parameters.values())


@each_one_by_one
def test_a_backward_pass_outside_of_a_step_updates_nothing(entry, tiny_model, pictures):
    job = job_of(entry, tiny_model, pictures, **FUSED)
    before = state(job)
    slots = np.arange(job.total)
    batch = job.examples.batch(job.components, 0, slots, job.device)
    model = partial(denoise, job.components, text=batch.text)
    job.objective.losses(model, batch, 0, slots).loss.sum().backward()
    assert same(before, state(job))
    assert all(p.grad is None for p in job.parameters.values())


@each_one_by_one
def test_weights_in_bf16_are_updated_in_fp32(entry, tiny_model, pictures):
    together = job_of(entry, tiny_model, pictures, **HALF, max_grad_norm=0.0)
    fused = job_of(entry, tiny_model, pictures, **(HALF | FUSED))
    for job in (together, fused):
        run(job)
        assert all(p.dtype == torch.bfloat16 for p in job.parameters.values())
        kept = [
            v
            for one, ps in named_optimizers(job.optimizer, job.parameters)
            for p in ps.values()
            for v in one.state[p].values()
        ]
        assert not [v for v in kept if isinstance(v, torch.Tensor) and v.dtype == torch.bfloat16]
        assert all(p.numel() == 0 for _, ps in named_optimizers(job.optimizer, job.parameters) for p in ps.values()), (
            "stand-ins"
        )
    assert same(dict(together.parameters), dict(fused.parameters))


@pytest.mark.parametrize("entry", [e for e in all_of(OPTIMIZERS) if e.properties.averages], ids=entry_id)
def test_an_average_is_what_is_sampled_and_training_goes_on_without_it(entry, tiny_model, pictures):
    disturbed, plain = (job_of(entry, tiny_model, pictures) for _ in range(2))
    for step in steps(disturbed):
        before = {name: p.detach().clone() for name, p in disturbed.parameters.items()}
        with disturbed.averaged():
            used = [name for name, p in disturbed.parameters.items() if not torch.equal(before[name], p)]
        assert used or step.index == 0
        assert same(before, dict(disturbed.parameters))
    run(plain)
    assert same(state(plain), state(disturbed))


@pytest.mark.parametrize("sign", [1, -1])
def test_rounding_keeps_the_mean(sign):
    exact = sign * torch.linspace(1.0, 2.0, 101)
    draws = torch.stack([stochastic_bf16(exact, generator(0, step, 0, exact.device)).float() for step in range(4000)])
    gap = 2.0**-7  # between bf16 numbers from 1 to 2
    assert (draws - exact).abs().max() < gap, "one of the two neighbours"
    spread = gap / 2 / np.sqrt(len(draws))
    assert (draws.mean(0) - exact).abs().max() < 5 * spread
    kept = exact.bfloat16()
    assert torch.equal(stochastic_bf16(kept.float(), generator(0, 0, 0, exact.device)), kept), "what fits stays"


def test_rounding_depends_on_seed_step_and_weight():
    exact = torch.full((64,), 1.001)
    drawn = {
        tuple(stochastic_bf16(exact, generator(*key, exact.device)).tolist())
        for key in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0))
    }
    assert len(drawn) == 4
