"""The average of the weights: what it is, and that it is what a run samples and saves."""

import json

import numpy as np
import pytest
import torch
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file

import tiny
from snrlab.train import runner
from snrlab.train.job import prepare
from snrlab.train.loop import steps
from snrlab.train.optim.weight_average import TOGETHER, WeightAverage


def test_the_average_is_saved_and_training_goes_on_without_it(tiny_model, pictures, tmp_path):
    train = {"method": "full", "ema": 0.9}
    config = tiny.run_config(tiny_model, pictures, train=train, sample={"prompts": ["a"], "every": 2, "steps": 2})
    outcome = runner.run(config, tmp_path)
    plain = tiny.run_config(tiny_model, pictures, train={"method": "full"})
    job = prepare(plain)
    average = {n: p.detach().clone() for n, p in job.parameters.items()}
    losses = []
    for step in steps(job):
        losses.append(step.loss)
        decay = min(0.9, (1 + step.index) / (10 + step.index)) if step.index else 0.0  # it warms up
        for name, parameter in job.parameters.items():
            average[name] = decay * average[name] + (1 - decay) * parameter.detach()
    logged = [json.loads(line)["loss"] for line in outcome.folder.steps_file.read_text().splitlines()]
    assert logged == pytest.approx(losses, rel=1e-6), "the average does not disturb the training"
    saved = load_file(outcome.folder.path / "tiny" / "unet" / "diffusion_pytorch_model.safetensors")
    for name, tensor in saved.items():
        assert torch.allclose(tensor, average[f"unet.{name}"], atol=1e-5), name


def test_captions_that_vary_are_the_same_at_the_same_step(tiny_model, pictures):
    job = prepare(tiny.run_config(tiny_model, pictures, data={"shuffle_tags": True, "caption_dropout": 0.0}))
    assert job.examples.needs_text_encoders
    slots = np.arange(4)
    assert torch.equal(*(job.examples.batch(job.components, 0, slots, job.device).text.hidden for _ in range(2)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_average_is_that_of_a_loop_over_the_weights_to_the_bit(dtype):
    generator = torch.Generator().manual_seed(0)
    sizes = [1 + 37 * n for n in range(TOGETHER + 6)]
    weights = [torch.nn.Parameter(torch.randn(size, generator=generator).to(dtype)) for size in sizes]
    together, one_by_one = (kind(weights, decay=0.99) for kind in (WeightAverage, EMAModel))
    for _ in range(12):
        with torch.no_grad():
            for weight in weights:
                weight += 0.1 * torch.randn(weight.shape, generator=generator).to(dtype)
        together.step(weights)
        one_by_one.step(weights)
        assert together.cur_decay_value == one_by_one.cur_decay_value
        assert all(map(torch.equal, together.shadow_params, one_by_one.shadow_params))
