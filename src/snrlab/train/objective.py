"""The objective of one step, written as the maths.

x_t = alpha_t x0 + sigma_t (eps + gamma_t xi)       only the network's input is perturbed
y   = target(prediction_type, x0, eps)              eps | alpha eps - sigma x0 | x0
mse = mean |model(x_t, t) - y|^2                    per example
loss = mean of weight_t mse                         over the global batch
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from snrlab.core.prediction import target
from snrlab.train.batch import Batch
from snrlab.train.draws import Draws, Slots

Model = Callable[[Tensor, Tensor], Tensor]


class Losses(NamedTuple):
    """What a forward pass found, each [B]: timestep, unweighted loss, weight on it."""

    timesteps: Tensor
    mse: Tensor
    weight: Tensor


@dataclass(frozen=True, eq=False)
class Objective:
    """A recipe as tables of length T on the training device: a step only looks values up."""

    draws: Draws
    prediction_type: str
    alpha: Tensor
    sigma: Tensor
    weight: Tensor

    @classmethod
    def of(cls, draws: Draws, device: torch.device) -> Objective:
        """The objective of a recipe, cast once from its float64 tables."""
        tables = draws.tables
        columns = (tables.schedule.alpha, tables.schedule.sigma, tables.weight)
        alpha, sigma, weight = (torch.tensor(c, dtype=torch.float32, device=device) for c in columns)
        return cls(draws, draws.recipe.prediction_type, alpha, sigma, weight)

    def losses(self, model: Model, batch: Batch, step: int, slots: Slots) -> Losses:
        """The unweighted losses of one forward pass and their weights.

        Args:
            model: (x_t [B, C, h, w], timesteps [B]) to a prediction [B, C, h, w].
            batch: what the forward pass is given, of it x0: clean latents [B, C, h, w].
            step: optimizer step.
            slots: the examples' places in the global batch [B].
        """
        x0 = batch.x0
        t = self.draws.timesteps(step, slots).to(x0.device)  # t ~ p(t)                [B]
        alpha, sigma = self.alpha[t].view(-1, 1, 1, 1), self.sigma[t].view(-1, 1, 1, 1)
        eps = self.draws.noise(step, slots, x0)  # eps ~ N(0, I)                       [B, C, h, w]
        xi = self.draws.extra_noise(step, slots, t.cpu(), x0)  # gamma_t xi, or 0      [B, C, h, w]
        x_t = alpha * x0 + sigma * (eps + xi)  # the input alone is perturbed          [B, C, h, w]
        y = target(self.prediction_type, x0, eps, alpha, sigma)  # from the clean eps  [B, C, h, w]
        mse = (model(x_t, t).float() - y).square().flatten(1).mean(1)  #               [B]
        return Losses(t, mse, self.weight[t])
