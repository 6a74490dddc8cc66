"""A world where everything can be solved: data x0 ~ N(0, 1), so the best network is linear, x_t -> c_t x_t.

Sampling from it with a few steps gives too small a variance, exactly computable. So it shows without any training what
input perturbation changes: the network's output shrinks by 1 / sqrt(1 + gamma^2), as epsilon scaling does.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from snrlab.core.errors import unknown
from snrlab.core.schedule import NoiseSchedule

Array = NDArray[np.float64]
NETWORKS = ("plain", "ip_noise", "epsilon_scaling", "perturbed_target")


def network(schedule: NoiseSchedule, name: str, gamma: float = 0.1) -> Array:
    """c_t, the slope of the best epsilon network, shape [T].

    Args:
        schedule: variance preserving, so that x_t has variance 1.
        name: `plain`; `ip_noise`, input sigma (eps + gamma xi) and target eps; `epsilon_scaling`, the plain one divided
            by sqrt(1 + gamma^2) when sampling; `perturbed_target`, the input of ip_noise with all of its noise, scaled
            to variance 1, as the target.
        gamma: strength of the perturbation.

    Raises:
        UserError: no such network.
    """
    alpha, sigma, grown = schedule.alpha, schedule.sigma, 1 + gamma**2
    match name:
        case "plain":
            return sigma
        case "ip_noise":
            return sigma / (alpha**2 + sigma**2 * grown)
        case "epsilon_scaling":
            return sigma / np.sqrt(grown)
        case "perturbed_target":
            return sigma * np.sqrt(grown) / (alpha**2 + sigma**2 * grown)
    raise unknown("network", name, NETWORKS)


def sampled_variance(schedule: NoiseSchedule, name: str, steps: int, gamma: float = 0.1) -> float:
    """Variance of what DDPM's ancestral sampler makes of noise with that network; 1 would be the data's.

    Args:
        schedule: variance preserving.
        name: of NETWORKS.
        steps: of the sampler, evenly spread over the schedule, its ends among them.
        gamma: strength of the perturbation.

    >>> from snrlab import SCHEDULES
    >>> sd = SCHEDULES.bind("sd")()
    >>> [round(sampled_variance(sd, name, 100), 4) for name in NETWORKS]
    [0.9391, 0.9491, 0.9489, 0.9393]
    """
    slope, abar = network(schedule, name, gamma), schedule.alphas_cumprod
    timesteps = np.linspace(0, len(abar) - 1, steps).round().astype(int)[::-1]
    to_x0 = (1 - schedule.sigma * slope) / schedule.alpha  # the network's x0 estimate, per x_t
    variance = 1.0
    for now, then in pairwise(timesteps):
        kept = abar[now] / abar[then]
        mean = np.sqrt(abar[then]) * (1 - kept) / (1 - abar[now]) * to_x0[now]
        mean += np.sqrt(kept) * (1 - abar[then]) / (1 - abar[now])
        variance = mean**2 * variance + (1 - kept) * (1 - abar[then]) / (1 - abar[now])
    return float(to_x0[timesteps[-1]] ** 2 * variance)
