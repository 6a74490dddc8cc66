"""The sampler: DDIM on the exact schedule of training, with Epsilon Scaling."""

from __future__ import annotations

from typing import Any

import numpy as np
from diffusers import DDIMScheduler
from torch import Tensor

from snrlab.core.arrays import Array
from snrlab.core.schedule import NoiseSchedule


class ScaledDDIM(DDIMScheduler):
    """DDIM whose predicted noise is divided by `epsilon_scaling`, whatever the network predicts.

    Epsilon Scaling (Ning et al. 2024, arXiv:2308.15321): a network trained with input perturbation of
    strength gamma shrinks its noise estimate by sqrt(1 + gamma^2); this has that effect without training.
    """

    epsilon_scaling = 1.0

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor, *args: Any, **kwargs: Any) -> Any:
        """One sampler step, as in DDIMScheduler."""
        if self.epsilon_scaling != 1:
            a = float(self.alphas_cumprod[int(timestep)])
            model_output = scale_epsilon(
                model_output, sample, self.config.prediction_type, a**0.5, (1 - a) ** 0.5, self.epsilon_scaling
            )
        return super().step(model_output, timestep, sample, *args, **kwargs)


def scale_epsilon(
    output: Tensor, x_t: Tensor, prediction_type: str, alpha: float, sigma: float, scale: float
) -> Tensor:
    """The network's output with the noise it implies divided by `scale`, x_t = alpha x0 + sigma epsilon kept.

    >>> import torch
    >>> float(scale_epsilon(torch.tensor(2.0), torch.tensor(0.5), "epsilon", 0.6, 0.8, 2.0))
    1.0
    """
    if prediction_type == "epsilon":
        return output / scale
    if prediction_type == "v_prediction":
        epsilon = alpha * output + sigma * x_t
        return output + (epsilon / scale - epsilon) / alpha
    epsilon = (x_t - alpha * output) / sigma
    return output - sigma * (epsilon / scale - epsilon) / alpha


def sampler(schedule: NoiseSchedule, prediction_type: str) -> ScaledDDIM:
    """DDIM on the exact schedule of training, its last timestep included."""
    betas = schedule_betas(schedule)
    return ScaledDDIM(
        num_train_timesteps=len(betas),
        trained_betas=betas.tolist(),
        prediction_type=prediction_type,
        clip_sample=False,
        set_alpha_to_one=False,
        timestep_spacing="trailing",
        steps_offset=1,  # unused by this spacing; diffusers warns about any other value
    )


def schedule_betas(schedule: NoiseSchedule) -> Array:
    """The noise variances by timestep from which diffusers computes the schedule, shape [T]."""
    a = schedule.alphas_cumprod
    betas = 1 - a / np.r_[1.0, a[:-1]]
    return betas


def ends_without_signal(schedule: NoiseSchedule) -> bool:
    """Whether the last timestep has no signal in diffusers' float32."""
    return bool(np.float32(schedule_betas(schedule)[-1]) == 1)
