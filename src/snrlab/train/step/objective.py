"""The training objective of one step, written like its formulas.

x_t = alpha_t x0 + sigma_t (eps + gamma_t xi)       only the network's input is perturbed
y   = target(prediction_type, x0, eps)              eps | alpha eps - sigma x0 | x0
d   = model(x_t, t) - y                             the error
mse = mean d^2                                      per example, unweighted
loss = r_t weight_t importance mean(mask f(d, c_t)) per example; f is d^2, |d| or Huber's

The optimised value is the mean of `loss` over the global batch. A mask weights the error of each element, and the mean
is over all elements, masked ones too, as in kohya: a small region gives a small loss, not a stronger one. r_t is the
density over the distribution that the recipe's sampling draws from; 1 where they are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from snrlab.core.prediction import target
from snrlab.core.registries.registry import Choice
from snrlab.core.registries.tensor_registries import LOSSES, default_choice
from snrlab.train.step.batch import Batch
from snrlab.train.step.draws import Slots, StepRandomness
from snrlab.train.step.losses import Loss

Model = Callable[[Tensor, Tensor], Tensor]


class Losses(NamedTuple):
    """The losses of a forward pass, each [B].

    Attributes:
        timesteps: t, on the CPU.
        mse: unweighted squared error over the whole image, whatever is optimised.
        weight: the recipe's weight at t.
        loss: the optimised loss, with weight, importance, mask and the correction for the sampling of timesteps.
    """

    timesteps: Tensor
    mse: Tensor
    weight: Tensor
    loss: Tensor


@dataclass(frozen=True, eq=False)
class Objective:
    """A recipe as tables of length T on the training device: a step only looks values up.

    Attributes:
        weight: by stage of the recipe and timestep.
    """

    draws: StepRandomness
    prediction_type: str
    alpha: Tensor
    sigma: Tensor
    weight: Tensor
    c: Tensor
    of_error: Callable[[Tensor, Tensor], Tensor]

    @classmethod
    def of(cls, draws: StepRandomness, device: torch.device, loss: Choice | None = None) -> Objective:
        """The objective of a recipe with an entry of LOSSES (by default mse), cast once from float64 tables."""
        tables = draws.tables
        bound_loss: Loss = (loss or default_choice(LOSSES, "mse"))(tables.schedule)
        weights = [stage.weight for _, _, stage in draws.stages]
        columns = (tables.schedule.alpha, tables.schedule.sigma, np.stack(weights), bound_loss.threshold)
        alpha, sigma, weight, c = (torch.tensor(x, dtype=torch.float32, device=device) for x in columns)
        return cls(draws, draws.recipe.prediction_type, alpha, sigma, weight, c, bound_loss.of_error)

    def losses(self, model: Model, batch: Batch, step: int, slots: Slots) -> Losses:
        """The losses of one forward pass.

        Args:
            model: maps (x_t [B, C, h, w], timesteps [B]) to a prediction [B, C, h, w].
            batch: clean latents, and their mask and importance.
            step: number of the optimizer step.
            slots: positions of the examples in the global batch [B].
        """
        x0 = batch.x0
        timesteps = self.draws.timesteps(step, slots)  # t ~ p(t), on the CPU          [B]
        t = timesteps.to(x0.device)
        alpha, sigma = self.alpha[t].view(-1, 1, 1, 1), self.sigma[t].view(-1, 1, 1, 1)
        eps = self.draws.noise(step, slots, x0)  # eps ~ N(0, I)                       [B, C, h, w]
        xi = self.draws.extra_noise(step, slots, timesteps, x0)  # gamma_t xi, or 0    [B, C, h, w]
        x_t = alpha * x0 + sigma * (eps + xi)  # the input alone is perturbed          [B, C, h, w]
        y = target(self.prediction_type, x0, eps, alpha, sigma)  # from the clean eps  [B, C, h, w]
        d = model(x_t, t).float() - y  # the error                                     [B, C, h, w]
        mse = d.square().flatten(1).mean(1)  #                                         [B]
        f = self.of_error(d, self.c[t].view(-1, 1, 1, 1))  #                           [B, C, h, w]
        if batch.mask is not None:
            f = f * batch.mask
        weight = self.weight[self.draws.stage(step), t]  #                             [B]
        loss = weight * f.flatten(1).mean(1)  #                                        [B]
        if batch.importance is not None:
            loss = loss * batch.importance
        r = self.draws.correction(step, timesteps)  # p / p drawn from                 [B]
        if r is not None:
            loss = loss * r.to(loss.device)
        return Losses(timesteps, mse, weight, loss)
