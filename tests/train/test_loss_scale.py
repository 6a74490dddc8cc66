"""The factor on the loss: it changes no bit where it fits, and a step that overflows is taken again."""

import pytest
import torch

import tiny
from snrlab.train.job import prepare
from snrlab.train.loop import DivergedError, steps
from snrlab.train.optim.loss_scale import PATIENCE, LossScale
from snrlab.train.resume import checkpoint

TOO_LARGE = 2.0**130  # even for fp32


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_step_that_overflows_is_taken_again(method, tiny_model, pictures, tmp_path):
    plain, scaled = (prepare(tiny.run_config(tiny_model, pictures, train={"method": method})) for _ in range(2))
    scaled.loss_scale.value = TOO_LARGE
    for one, other in zip(steps(plain), steps(scaled), strict=True):
        assert one.loss == other.loss
        assert one.grad_norm == other.grad_norm
    assert 1 < scaled.loss_scale.value < TOO_LARGE
    assert scaled.loss_scale.good == 6
    assert all(torch.equal(p, scaled.parameters[name]) for name, p in plain.parameters.items())
    checkpoint.save_checkpoint(scaled, tmp_path, 6)
    checkpoint.restore(plain, tmp_path)
    assert plain.loss_scale == scaled.loss_scale


def test_a_loss_that_is_no_number_is_not_the_scales_fault(tiny_model, pictures):
    job = prepare(tiny.run_config(tiny_model, pictures))
    job.loss_scale.value = 2.0**16
    job.examples.buckets[0].latents[:] = float("nan")
    with pytest.raises(DivergedError, match="the loss is not a finite number"):
        next(steps(job))
    assert job.loss_scale.value == 2.0**16


def test_it_grows_after_many_good_steps_and_1_is_fixed():
    scale, fixed = LossScale.of(half=True), LossScale.of(half=False)
    first = scale.value
    for _ in range(PATIENCE):
        scale.succeeded()
        fixed.succeeded()
    assert scale == LossScale(2 * first, 0)
    assert fixed == LossScale(1.0, 0)
    assert not fixed.lower()
