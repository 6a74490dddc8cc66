"""Invariants from theory that need more than one piece: gradients, optimizers, densities over log-SNR."""

import numpy as np
import pytest
import torch

import tiny
from snrlab import DENSITIES, PERTURBATIONS, SCHEDULES, WEIGHTINGS, Recipe
from snrlab.core.prediction import PREDICTION_TYPES, convert, target
from snrlab.train.step.draws import StepRandomness
from snrlab.train.step.objective import Objective

SD = SCHEDULES.bind("sd")()


@pytest.mark.parametrize("space", PREDICTION_TYPES)
@pytest.mark.parametrize("spec", ["min_snr", "debiased", "p2", "soft_min_snr", "flow_prediction"])
def test_one_network_gets_the_same_gradient_in_every_space(spec, space):
    """A linear network that outputs epsilon, and the same read as v, x0 or flow, under converted weights."""
    steps = np.array([5, 146, 353, 600, 990])
    alpha, sigma = (torch.tensor(v[steps])[:, None] for v in (SD.alpha, SD.sigma))
    x0, eps = torch.randn(2, 5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x_t = alpha * x0 + sigma * eps
    weighting = (WEIGHTINGS.parse(spec),)

    def gradient(read_as):
        network = torch.eye(8, dtype=torch.float64).mul(0.3).requires_grad_()
        output = convert(x_t @ network, "epsilon", read_as, x_t, alpha, sigma)
        weight = torch.tensor(Recipe(weighting=weighting, prediction_type=read_as).tables().weight[steps])
        loss = (weight * (output - target(read_as, x0, eps, alpha, sigma)).square().mean(1)).mean()
        return torch.autograd.grad(loss, network)[0]

    assert torch.allclose(gradient(space), gradient("epsilon"), rtol=1e-9)


def test_adam_does_not_see_a_constant_factor_and_sgd_does():
    def moved(optimizer, factor):
        weight = torch.ones(3, dtype=torch.float64, requires_grad=True)
        made = optimizer([weight])
        for step in range(3):
            made.zero_grad()
            (factor * (weight * torch.tensor([1.0, 2.0, 3.0]) - step).square().mean()).backward()
            made.step()
        return weight.detach()

    def adam(p):
        return torch.optim.AdamW(p, lr=0.1, eps=1e-15)

    def sgd(p):
        return torch.optim.SGD(p, lr=0.01)

    assert torch.allclose(moved(adam, 1), moved(adam, 3.02), atol=1e-9)
    assert not torch.allclose(moved(sgd, 1), moved(sgd, 3.02), atol=1e-3)


def test_cosine_schedule_spreads_log_snr_as_sech():
    tables = Recipe(schedule=SCHEDULES.parse("cosine:offset=0")).tables()
    inner = np.abs(tables.log_snr) < 6
    assert tables.emphasis()[inner] == pytest.approx(1 / (2 * np.pi * np.cosh(tables.log_snr[inner] / 2)), rel=1e-2)


def test_shift_is_a_translation_with_an_inverse():
    plain, shifted = (SCHEDULES.parse(s)() for s in ("rectified_flow", "rectified_flow:shift=3"))
    back = SCHEDULES.parse("rectified_flow:shift=0.3333333333333333")()
    assert shifted.log_snr == pytest.approx(plain.log_snr - 2 * np.log(3))
    assert back.log_snr == pytest.approx(plain.log_snr + 2 * np.log(3))
    assert SCHEDULES.parse("rectified_flow:shift=1")().log_snr == pytest.approx(plain.log_snr)


def test_logit_mean_of_the_other_sign_is_the_mirror():
    flow = SCHEDULES.parse("rectified_flow")()
    one, other = (DENSITIES.parse(f"logit_normal:mean={m}")(flow) for m in (1.0, -1.0))
    assert one == pytest.approx(other[::-1])
    assert (one * flow.sigma).sum() > 0.5 > (other * flow.sigma).sum()


def test_no_strength_is_no_perturbation_to_the_bit():
    inputs = []
    for perturbation in (None, PERTURBATIONS.parse("ip_noise:gamma=0")):
        recipe = Recipe(perturbation=perturbation)
        objective = Objective.of(StepRandomness(recipe, recipe.tables(), 1, 4), torch.device("cpu"))
        objective.losses(lambda x_t, t: inputs.append(x_t) or x_t, tiny.batch(torch.zeros(4, 2, 4, 4)), 0, np.arange(4))
    assert torch.equal(*inputs)


def test_snr_scaled_perturbation():
    schedule = SCHEDULES.bind("sd")()
    tables = Recipe(
        perturbation=PERTURBATIONS.parse("ip_noise_snr:gamma=0.1"),
        prediction_type="v_prediction",
        zero_terminal_snr=True,
    ).tables()
    assert tables.ip_gamma[-1] == 0
    gamma = PERTURBATIONS.parse("ip_noise_snr:gamma=0.1")(schedule.log_snr)
    assert gamma * schedule.sigma == pytest.approx(0.1 * np.minimum(schedule.sigma, schedule.alpha))


@pytest.mark.parametrize("gamma", [0.05, 0.1, 0.15, 0.25])
def test_effective_snr(gamma):
    tables = Recipe(perturbation=PERTURBATIONS.bind("ip_noise", gamma=gamma)).tables()
    assert tables.effective_snr == pytest.approx(tables.snr / (1 + gamma**2))
    assert tables.ip_floor[0] == pytest.approx({0.05: 0.0025, 0.1: 0.0099, 0.15: 0.022, 0.25: 0.0588}[gamma], rel=0.01)
