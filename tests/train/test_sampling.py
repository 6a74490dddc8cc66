"""Sampling: epsilon scaling, tables of strengths and steps, pixels without an autoencoder."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import tiny
from snrlab import UserError
from snrlab.config.sections.output import SampleConfig
from snrlab.core.schedule import SCHEDULES, zero_terminal_snr
from snrlab.evaluate.open_model import open_model
from snrlab.models.pixels import PixelIdentity
from snrlab.pictures.ddim import sampler, scale_epsilon
from snrlab.pictures.sampling import draw_pictures, pipeline
from snrlab.train import runner


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_epsilon_scaling_divides_the_noise_and_keeps_the_input(prediction_type):
    """x_t = alpha x0 + sigma eps: after scaling, the implied eps is divided and x0 follows from x_t."""
    alpha, sigma, b = 0.6, 0.8, 1.02
    x0, eps = torch.randn(2, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x_t = alpha * x0 + sigma * eps
    output = {"epsilon": eps, "v_prediction": alpha * eps - sigma * x0, "sample": x0}[prediction_type]
    scaled = scale_epsilon(output, x_t, prediction_type, alpha, sigma, b)
    scaled_x0 = (x_t - sigma * eps / b) / alpha
    wanted = {"epsilon": eps / b, "v_prediction": alpha * eps / b - sigma * scaled_x0, "sample": scaled_x0}
    assert torch.allclose(scaled, wanted[prediction_type])


def test_every_prediction_type_samples_alike_with_epsilon_scaling():
    schedule = SCHEDULES.bind("sd")()
    x_t, x0 = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    a = float(schedule.alphas_cumprod[500])
    alpha, sigma = a**0.5, (1 - a) ** 0.5
    eps = (x_t - alpha * x0) / sigma
    stepped = []
    for name, output in (("epsilon", eps), ("v_prediction", alpha * eps - sigma * x0), ("sample", x0)):
        scheduler = sampler(schedule, name)
        scheduler.set_timesteps(4)
        scheduler.epsilon_scaling = 1.01
        stepped.append(scheduler.step(output, 500, x_t).prev_sample)
        scheduler.epsilon_scaling = 1.0
        assert not torch.allclose(stepped[-1], scheduler.step(output, 500, x_t).prev_sample, atol=1e-4)
    for other in stepped[1:]:
        assert torch.allclose(stepped[0], other, atol=1e-4)


def test_epsilon_scaling_is_refused_where_the_schedule_ends_without_signal():
    model = tiny.components("v_prediction")
    pipe = pipeline(model, zero_terminal_snr(SCHEDULES.bind("sd")()), "v_prediction")
    with pytest.raises(UserError, match="ends without signal"):
        draw_pictures(pipe, SampleConfig(prompts=["a"], steps=2, epsilon_scaling=1.01), 16)


@pytest.fixture(scope="module")
def run(tiny_model, pictures, tmp_path_factory):
    config = tiny.run_config(
        tiny_model,
        pictures,
        train={"steps": 6, "learning_rate": 3e-2},
        sample={"prompts": ["a", "b"], "steps": 2},
        output={"every": 2, "dates": False},
    )
    return runner.run(config, tmp_path_factory.mktemp("grid")).folder


def test_tables_of_strengths_and_steps(run, tmp_path):
    files = {"tiny-step00000002.safetensors", "tiny-step00000004.safetensors", "tiny.safetensors"}
    assert {f.name for f in run.path.glob("*.safetensors")} == files
    out = tmp_path / "grid.png"
    steps, strengths = ["--step", 2, "--step", 6], ["--strength", 0, "--strength", 1]
    done = tiny.snrlab("sample", run.path, *steps, *strengths, "--steps", 2, "--out", out)
    assert done.returncode == 0, done.stderr
    picture = np.asarray(Image.open(out).convert("RGB"))
    rows = [picture[-(4 - i) * 20 : -(4 - i) * 20 + 16, -40:] for i in range(4)]
    assert np.array_equal(rows[0], rows[2]), "strength 0 is the model without the LoRA, whatever the step"
    assert not np.array_equal(rows[1], rows[3])
    assert not np.array_equal(rows[0], rows[1])
    done = tiny.snrlab("sample", run.path, "--step", 3)
    assert done.returncode == 2
    assert "Allowed: 2, 4, 6" in done.stderr


def test_strength_without_a_lora_is_refused(tiny_model):
    done = tiny.snrlab("sample", tiny_model, "--prompt", "a", "--strength", 0.5)
    assert done.returncode == 2
    assert "--strength sets how much of a LoRA is used" in done.stderr


def test_training_on_pixels(pictures, tmp_path):
    data = tiny.run_dict(tmp_path, pictures, train={"method": "full", "steps": 2, "batch_size": 2})
    data["model"] = {"random": "pixels"}
    data["sample"] = {"prompts": ["a"], "steps": 2}
    from snrlab.config import parse_run

    folder = runner.run(parse_run(data), tmp_path).folder
    saved = open_model(folder.path)
    assert isinstance(saved.components.vae, PixelIdentity)
    assert saved.components.latent_factor == 1
    assert len(draw_pictures(saved.pipe, SampleConfig(prompts=["a"], steps=2), 16)) == 1
    index = json.loads((folder.path / "tiny" / "model_index.json").read_text())
    assert index["vae"] == ["snrlab.models.pixels", "PixelIdentity"]
    pixels = torch.rand(1, 3, 16, 16) * 2 - 1
    vae = saved.components.vae
    assert torch.equal(vae.decode(vae.encode(pixels).latent_dist.mode()).sample, pixels)
