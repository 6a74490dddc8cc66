"""Schedulers of diffusers for the samplers, on the exact schedule of training."""

from __future__ import annotations

from typing import Any

import diffusers

from snrlab.core.registries.samplers import DEFAULT_SAMPLER, SAMPLERS, check_epsilon_scaling, check_sampler
from snrlab.core.schedule import NoiseSchedule
from snrlab.pictures.ddim import ends_without_signal, sampler, schedule_betas


def make_scheduler(name: str, schedule: NoiseSchedule, prediction_type: str, *, epsilon_scaling: float = 1.0) -> Any:
    """The diffusers scheduler of a sampler.

    On a schedule that ends without signal every sampler starts at the last timestep (trailing spacing), and diffusers
    replaces the infinite noise level there by a large one.

    Args:
        name: name of the sampler, a key of SAMPLERS.
        schedule: the schedule of training.
        prediction_type: what the network predicts.
        epsilon_scaling: divisor of the predicted noise.

    Raises:
        UserError: the sampler cannot draw with such a model.
    """
    zero_terminal = ends_without_signal(schedule)
    check_epsilon_scaling(name, epsilon_scaling)
    check_sampler(name, prediction_type, zero_terminal=zero_terminal)
    if name == DEFAULT_SAMPLER:
        ddim = sampler(schedule, prediction_type)
        ddim.epsilon_scaling = epsilon_scaling
        return ddim
    kind = getattr(diffusers, SAMPLERS[name].scheduler)
    arguments = dict(SAMPLERS[name].arguments)
    if zero_terminal:
        arguments |= {"timestep_spacing": "trailing", "rescale_betas_zero_snr": True}
    betas = schedule_betas(schedule).tolist()
    return kind(num_train_timesteps=len(betas), trained_betas=betas, prediction_type=prediction_type, **arguments)
