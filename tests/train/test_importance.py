"""Importance sampling on the small model that ships: the expected gradient stays, its variance falls."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch.nn import functional

from snrlab import DENSITIES, SAMPLINGS, WEIGHTINGS, Recipe
from snrlab.core.random_streams import stream
from snrlab.data import emoji
from snrlab.models.denoise import denoise
from snrlab.models.encoding.encode import encode_captions, encode_pixels
from snrlab.models.storage.source import shipped
from snrlab.train.step.draws import StepRandomness

pytestmark = pytest.mark.slow
LEVELS, PER_LEVEL, BATCH = 1000, 4, 4
WARM, MEASURED = 300, 4000  # steps
WEIGHTS = [(), ("min_snr",), ("debiased",)]


class Gradients(NamedTuple):
    """By timestep: the gradient of the squared error by the UNet's last convolution [T, k], and the error itself."""

    gradient: np.ndarray
    mse: np.ndarray


@pytest.fixture(scope="module")
def gradients():
    """A picture and a noise for each fourth timestep, which stand for the three beside it too."""
    model, style = shipped("small"), emoji.styles()[0]
    model.freeze()
    count = LEVELS // PER_LEVEL
    x0 = encode_pixels(model, emoji.images(style)[:count], torch.device("cpu"))
    text = encode_captions(model, [c.caption for c in emoji.concepts(style)[:count]])
    before = []
    model.unet.conv_out.register_forward_hook(lambda _, inputs, __: before.append(inputs[0]))
    schedule = Recipe().noise_schedule()
    order = stream(0, "order", 0).permutation(count)
    per_example, errors = [], []
    for start in range(0, count, 25):
        t = torch.arange(start, start + 25) * PER_LEVEL
        rows = order[start : start + 25].tolist()
        alpha, sigma = (
            torch.from_numpy(v[t.numpy()]).float().view(-1, 1, 1, 1) for v in (schedule.alpha, schedule.sigma)
        )
        noise = stream(0, "noise", start).standard_normal(x0[rows].shape, dtype=np.float32)
        eps = torch.from_numpy(noise)
        with torch.no_grad():
            d = denoise(model, alpha * x0[rows] + sigma * eps, t, text[rows]).float() - eps
        patches = functional.unfold(before.pop().float(), 3, padding=1)
        each = torch.einsum("bop,bkp->bok", d.flatten(2), patches).flatten(1) * 2 / d[0].numel()
        per_example.append(each.double().numpy())
        errors.append(d.square().flatten(1).mean(1).double().numpy())
    near = np.arange(LEVELS) // PER_LEVEL
    return Gradients(np.concatenate(per_example)[near], np.concatenate(errors)[near])


class Measured(NamedTuple):
    """Over many steps of a recipe: the batch's gradients [steps, k], and the exact one that they should have [k]."""

    drawn: np.ndarray
    exact: np.ndarray

    @property
    def variance(self):
        return self.drawn.var(axis=0, ddof=1).sum()

    @property
    def off(self):
        """How far the mean is from the exact gradient: its square over what chance makes it, which is 1."""
        error = np.square(self.drawn.mean(axis=0) - self.exact).sum()
        return error / (self.variance / len(self.drawn))


def measure(gradients, *weighting, **parts):
    recipe = Recipe(weighting=tuple(WEIGHTINGS.bind(name) for name in weighting), **parts)
    tables = recipe.tables()
    draws = StepRandomness(recipe, tables, 0, BATCH)
    slots = np.arange(BATCH)
    weighted = gradients.gradient * tables.weight[:, None]
    drawn = []
    for step in range(WARM + MEASURED):
        t = draws.timesteps(step, slots)
        r = draws.correction(step, t)
        each = weighted[t.numpy()] * (1 if r is None else r.double().numpy()[:, None])
        draws.sampler.learn(t.numpy(), gradients.mse[t.numpy()])
        if step >= WARM:
            drawn.append(each.mean(axis=0))
    return Measured(np.array(drawn), tables.p @ weighted)


@pytest.mark.long
@pytest.mark.parametrize("weighting", WEIGHTS, ids=lambda w: "-".join(w) or "plain")
def test_corrected_keeps_the_expected_gradient_and_lowers_its_variance(weighting, gradients):
    before = measure(gradients, *weighting)
    now = measure(gradients, *weighting, sampling=SAMPLINGS.bind("importance"))
    assert before.off < 3, "the measurement itself"
    assert now.off < 3
    assert now.variance < 0.93 * before.variance


def test_uncorrected_is_another_objective(gradients):
    measured = measure(gradients, density=DENSITIES.bind("loss_attention"))
    assert measured.off > 30
    assert np.linalg.norm(measured.drawn.mean(axis=0) - measured.exact) > 0.2 * np.linalg.norm(measured.exact)


def test_the_output_says_how_large_the_gradient_is(gradients):
    """What `by = "gradient"` goes by: the size of the gradient by level follows sqrt(mse), and not mse."""
    bins = np.arange(LEVELS) * 20 // LEVELS

    def level(values):
        return np.array([values[bins == part].mean() for part in range(20)])

    size, mse = np.sqrt(level(np.square(gradients.gradient).sum(axis=1))), level(gradients.mse)
    assert np.ptp(np.log(size / np.sqrt(mse))) < 0.4 * np.ptp(np.log(size / mse))
