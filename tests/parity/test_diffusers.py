"""Agreement with the diffusers library, in float32 where it computes so."""

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr
from diffusers.training_utils import compute_snr

from snrlab import SCHEDULES
from snrlab.core.prediction import target
from snrlab.core.schedule import zero_terminal_snr

pytestmark = pytest.mark.numeric

SD = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def ours(scheduler, folder):
    scheduler.save_pretrained(folder)
    return SCHEDULES.bind("scheduler_config", config=str(folder / "scheduler_config.json"))()


@pytest.mark.parametrize(
    "config",
    [
        SD,
        {"beta_schedule": "linear"},
        {"beta_schedule": "squaredcos_cap_v2"},
        {"beta_schedule": "sigmoid"},
        {"beta_schedule": "laplace"},
        {"trained_betas": np.linspace(0.001, 0.02, 500).tolist(), "num_train_timesteps": 500},
        SD | {"rescale_betas_zero_snr": True},
    ],
    ids=lambda c: str(sorted(c.items()))[:60],
)
def test_schedules_of_configs(config, tmp_path):
    scheduler = DDPMScheduler(**config)
    schedule = ours(scheduler, tmp_path)
    assert schedule.alphas_cumprod == pytest.approx(scheduler.alphas_cumprod.double().numpy(), rel=2e-4, abs=1e-9)
    usable = slice(0, schedule.num_train_timesteps - 2)
    snr = compute_snr(scheduler, torch.arange(schedule.num_train_timesteps)).double().numpy()
    assert schedule.snr[usable] == pytest.approx(snr[usable], rel=5e-3)


def test_sd_to_float32():
    snr = compute_snr(DDPMScheduler(**SD), torch.arange(1000)).double().numpy()
    assert SCHEDULES.bind("sd")().snr == pytest.approx(snr, rel=3e-5)


def test_flow_config(tmp_path):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    assert ours(scheduler, tmp_path).sigma == pytest.approx(scheduler.sigmas.double().numpy()[::-1], rel=1e-5)


def test_zero_terminal_snr():
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    theirs = torch.cumprod(1 - rescale_zero_terminal_snr(betas), 0).numpy()
    assert zero_terminal_snr(SCHEDULES.bind("sd")()).alphas_cumprod == pytest.approx(theirs, rel=1e-9, abs=1e-15)


def test_noising_and_velocity():
    scheduler = DDIMScheduler(**SD)
    schedule = SCHEDULES.bind("sd")()
    x0, eps = torch.randn(2, 4, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0, 200, 700, 999])
    alpha, sigma = (torch.tensor(v[t.numpy()]).view(-1, 1, 1, 1) for v in (schedule.alpha, schedule.sigma))
    assert torch.allclose(alpha * x0 + sigma * eps, scheduler.add_noise(x0, eps, t), atol=1e-5)
    assert torch.allclose(target("v_prediction", x0, eps, alpha, sigma), scheduler.get_velocity(x0, eps, t), atol=1e-5)
