"""Input perturbation where everything can be solved: x0 ~ N(0, 1), linear networks (science of 2301.11706)."""

import numpy as np
import pytest
from documentation.gaussian_world import NETWORKS, network, sampled_variance

from snrlab import SCHEDULES
from snrlab.core.errors import UserError
from snrlab.core.prediction import convert, target

SD = SCHEDULES.bind("sd")()
STEPS = np.array([24, 249, 499, 999])


@pytest.mark.parametrize("gamma", [0.1, 0.3])
@pytest.mark.parametrize("space", ["epsilon", "sample", "v_prediction"])
def test_what_the_best_linear_network_learns(space, gamma):
    alpha, sigma = SD.alpha[STEPS], SD.sigma[STEPS]
    noise = 1 + gamma**2
    variance = alpha**2 + sigma**2 * noise  # of the perturbed input
    # regression of each target on the input: cov(target, x_t) / var(x_t), with the target's noise unperturbed
    slope = target(space, alpha, sigma, alpha, sigma) / variance
    # in the paper's terms: the network for noise sigma s, its eps estimate scaled
    s = np.sqrt(noise)
    eps_scale = {"epsilon": 1 / s, "sample": s, "v_prediction": alpha**2 / s + sigma**2 * s}[space]
    best_eps = sigma * s / variance  # E[eps' | x_t] / x_t, eps' the whole unit-variance noise
    implied = convert(slope, space, "epsilon", np.ones(4), alpha, sigma)
    plain = convert(alpha / variance, "sample", "epsilon", np.ones(4), alpha, sigma) if space == "sample" else None
    if space == "epsilon":
        assert implied == pytest.approx(best_eps * eps_scale)
    elif space == "sample":
        assert implied == pytest.approx(best_eps * eps_scale)
        assert plain == pytest.approx(implied)
    else:
        assert implied == pytest.approx(best_eps * eps_scale)


@pytest.mark.parametrize("steps", [50, 100, 1000])
def test_ip_noise_is_epsilon_scaling_and_its_noisier_input_alone_is_nothing(steps):
    plain, ip, scaled, shifted = (sampled_variance(SD, name, steps) for name in NETWORKS)
    assert ip == pytest.approx(scaled, abs=1e-3)
    assert shifted == pytest.approx(plain, abs=1e-3)
    assert ip - plain > 8e-3, "the shrunken output gives back variance"
    assert plain < 1, "which a sampler of a finite number of steps loses"


def test_the_best_network_under_ip_noise_is_the_plain_one_of_a_noisier_step_shrunk():
    gamma = 0.3
    whole = network(SD, "perturbed_target", gamma)  # its target is all the noise of its input, at variance 1
    assert network(SD, "ip_noise", gamma) == pytest.approx(whole / np.sqrt(1 + gamma**2))


def test_without_perturbation_all_networks_are_the_plain_one():
    variances = [sampled_variance(SD, name, 20, gamma=0.0) for name in NETWORKS]
    assert variances == pytest.approx([variances[0]] * len(variances), rel=1e-12)
    with pytest.raises(UserError, match="Did you mean 'ip_noise'"):
        network(SD, "ip_noize")
