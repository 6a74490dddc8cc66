"""Losses, noise and learning rates against kohya's formulas and the libraries' functions.

kohya's are typed anew from kohya-ss/sd-scripts at 48d368f: library/train_util.py:6110 (thresholds), :6133 (losses),
:6071 (noise) and library/custom_train_functions.py:458 (multires noise), :471 (noise offset), :487 (masks).
"""

import numpy as np
import pytest
import torch
import transformers
from diffusers.optimization import get_piecewise_constant_schedule
from torch.nn.functional import avg_pool2d, interpolate

from snrlab import NOISES, SCHEDULES, Recipe
from snrlab.core.lr_schedules import LR_SCHEDULES
from snrlab.core.registries.tensor_registries import LOSSES
from snrlab.models.encoding.encode import TextEmbeddings
from snrlab.train.step.batch import Batch
from snrlab.train.step.draws import StepRandomness
from snrlab.train.step.objective import Objective

pytestmark = pytest.mark.numeric

SD = SCHEDULES.bind("sd")()
T = np.arange(1000)


def kohya_threshold(schedule, c, scale):
    if schedule == "exponential":
        return np.exp(-(-np.log(c) / 1000) * T) * scale
    if schedule == "snr":
        sigmas = ((1 - SD.alphas_cumprod) / SD.alphas_cumprod) ** 0.5
        return (1 - c) / (1 + sigmas) ** 2 + c
    return np.full(1000, c * scale)


def kohya_loss(name, d, c):
    if name == "huber":
        return 2 * c * (torch.sqrt(d**2 + c**2) - c)
    if name == "smooth_l1":
        return 2 * (torch.sqrt(d**2 + c**2) - c)
    return {"mse": d**2, "l1": d.abs()}[name]


@pytest.mark.parametrize("name", ["huber", "smooth_l1"])
@pytest.mark.parametrize(("schedule", "scale"), [("snr", 1.0), ("exponential", 1.5), ("constant", 2.0)])
@pytest.mark.parametrize("c", [0.1, 0.01])
def test_huber_is_kohyas(name, schedule, scale, c):
    bound = LOSSES.bind(name, c_schedule=schedule, c=c, scale=scale)(SD)
    assert bound.threshold == pytest.approx(kohya_threshold(schedule, c, scale), rel=1e-12)
    d = torch.randn(1000, 4, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    c_t = torch.tensor(bound.threshold).view(-1, 1, 1, 1)
    assert torch.allclose(bound.of_error(d, c_t), kohya_loss(name, d, c_t), rtol=1e-12)


def test_kohyas_thresholds_at_the_default():
    """The numbers of reference tables: c(t) falls from 1 to huber_c."""
    c = LOSSES.bind("huber")(SD).threshold
    assert [round(float(c[t]), 2) for t in (0, 100, 500)] == [0.95, 0.6, 0.23]
    assert round(float(c[999]), 3) == 0.104


@pytest.mark.parametrize("name", ["mse", "l1", "huber", "smooth_l1"])
def test_a_step_with_mask_and_prior_weight_is_kohyas(name):
    """Mean over (C, h, w) of loss x mask, times loss_weights, times the SNR weight, in kohya's order."""
    recipe = Recipe(weighting=())
    made = Objective.of(StepRandomness(recipe, recipe.tables(), 1, 3), torch.device("cpu"), LOSSES.bind(name))
    generator = torch.Generator().manual_seed(0)
    x0, prediction = torch.randn(2, 3, 4, 8, 8, generator=generator)
    mask, prior = torch.rand(3, 1, 8, 8, generator=generator), torch.tensor([1.0, 0.5, 1.0])
    batch = Batch(x0, TextEmbeddings(torch.zeros(3, 1, 1)), mask=mask, importance=prior)
    slots = np.arange(3)
    losses = made.losses(lambda x_t, t: prediction, batch, 0, slots)
    eps = made.draws.noise(0, slots, x0)
    c = torch.tensor(kohya_threshold("snr", 0.1, 1.0)[losses.timesteps], dtype=torch.float32).view(-1, 1, 1, 1)
    theirs = (kohya_loss(name, prediction - eps, c) * mask).mean([1, 2, 3]) * prior
    assert torch.allclose(losses.loss, theirs, rtol=1e-5)


def kohya_pyramid(rng, generator, size, iterations, discount):
    noise = torch.randn(1, 4, size, size, generator=generator)
    for i in range(iterations):
        r = rng.random() * 2 + 2
        small = max(1, int(size / r**i))
        noise = noise + interpolate(
            torch.randn(1, 4, small, small, generator=generator), size=(size, size), mode="bilinear"
        ) * (discount**i)
        if small == 1:
            break
    return (noise / noise.std())[0]


def variance_by_scale(examples):
    """Variance of the means of blocks of 1, 2, 4, ... elements a side."""
    stack = torch.stack(list(examples))
    return [float(avg_pool2d(stack, scale).var()) for scale in (1, 2, 4, 8, 16)]


@pytest.mark.parametrize(("iterations", "discount"), [(6, 0.3), (6, 0.8), (2, 0.5)])
def test_multires_noise_has_kohyas_variance_at_every_scale(iterations, discount):
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    theirs = variance_by_scale(kohya_pyramid(rng, generator, 32, iterations, discount) for _ in range(300))
    shape = NOISES.bind("pyramid", iterations=iterations, discount=discount)
    ours = variance_by_scale(
        shape(torch.randn(4, 32, 32, generator=generator), torch.zeros(4, 32, 32), np.random.default_rng(seed))
        for seed in range(300)
    )
    assert ours == pytest.approx(theirs, rel=0.1)
    white = [1 / scale**2 for scale in (1, 2, 4, 8, 16)]
    assert ours[-1] > 1.2 * white[-1], "more of what is coarse"


@pytest.mark.parametrize(
    ("options", "channel_variance"),
    [
        ({"strength": 0.3}, 0.3**2),
        ({"strength": 0.3, "random_strength": True}, 0.3**2 / 3),
        ({"strength": 0.1, "adaptive_scale": 0.2}, (0.1 + 0.2 * 2) ** 2),
        ({"strength": 0.1, "adaptive_scale": -1.0}, 0.0),
    ],
    ids=["offset", "random", "adaptive", "adaptive-below-0"],
)
def test_noise_offset_has_kohyas_variance_of_the_channel_mean(options, channel_variance):
    """strength x randn(B, C, 1, 1); with adaptive_noise_scale strength + scale |mean of x0's channel|, at least 0."""
    x0 = torch.full((4, 16, 16), -2.0)
    shape, generator = NOISES.bind("offset", **options), torch.Generator().manual_seed(0)
    noise = torch.stack(
        [shape(torch.randn(4, 16, 16, generator=generator), x0, np.random.default_rng(seed)) for seed in range(1500)]
    )
    means = noise.mean((2, 3))
    assert float(means.var()) == pytest.approx(channel_variance + 1 / 256, rel=0.1)
    assert float((noise - means[:, :, None, None]).var()) == pytest.approx(1, rel=0.01), "the rest is as it was"


def theirs(name, warmup, total, **options):
    """transformers' factors, step by step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    made = transformers.get_scheduler(name, optimizer, warmup, total, scheduler_specific_kwargs=options)
    return [made.lr_lambdas[0](step) for step in range(total)]


@pytest.mark.parametrize("warmup", [0, 1, 30])
@pytest.mark.parametrize(
    ("name", "ours", "options"),
    [
        ("constant_with_warmup", {}, {}),
        ("linear", {}, {}),
        ("cosine", {}, {}),
        ("cosine_with_restarts", {"cycles": 3}, {"num_cycles": 3}),
        ("polynomial", {"power": 2.0, "end": 1e-7}, {"power": 2.0}),
        ("inverse_sqrt", {}, {}),
        ("inverse_sqrt", {"timescale": 77}, {"timescale": 77}),
        ("cosine_with_min_lr", {"min_ratio": 0.2}, {"min_lr_rate": 0.2}),
        ("warmup_stable_decay", {"decay": 0.25}, {"num_decay_steps": 50}),
    ],
)
def test_rates_are_those_of_transformers(name, ours, options, warmup):
    """After warm-up step by step; in it a step ahead, because theirs spends the first step at a rate of 0."""
    total = 200
    schedule_name = "constant" if name == "constant_with_warmup" else name
    schedule, expected = LR_SCHEDULES.bind(schedule_name, **ours), theirs(name, warmup, total, **options)
    assert [schedule(step, warmup, total) for step in range(warmup, total)] == pytest.approx(
        expected[warmup:], abs=1e-9
    )
    from snrlab.core.lr_schedules import warmup_factor

    assert [warmup_factor(step, warmup) for step in range(warmup)] == pytest.approx(expected[1 : warmup + 1])
    assert expected[0] == (0 if warmup else pytest.approx(1))


def test_steps_of_a_rate_are_those_of_diffusers():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    made = get_piecewise_constant_schedule(optimizer, "1:10,0.1:20,0.01:30,0.005")
    ours = LR_SCHEDULES.bind("piecewise_constant", rules="1:10,0.1:20,0.01:30,0.005")
    assert [ours(step, 0, 50) for step in range(50)] == [made.lr_lambdas[0](step) for step in range(50)]


def test_every_name_of_kohya_is_there():
    """But constant_with_warmup, which is constant with a warm-up."""
    names = "linear cosine cosine_with_restarts polynomial constant inverse_sqrt cosine_with_min_lr"
    assert {*names.split(), "warmup_stable_decay", "piecewise_constant"} == set(LR_SCHEDULES)
