"""The running average of the trained weights (`train.ema`), updated with few kernels."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from diffusers.training_utils import EMAModel
from torch import nn

TOGETHER = 64  # weights updated by one kernel: more gain little, and all at once need memory for a copy of them


class WeightAverage(EMAModel):
    """EMAModel with fewer kernels and the same average to the bit.

    `EMAModel(foreach=True)` is as fast, but scales and subtracts in one operation, which rounds once where the loop
    over weights rounds twice: every tenth number of an average would differ in its last digit, and which ones would
    depend on the processor.
    """

    @torch.no_grad()
    def step(self, parameters: Iterable[nn.Parameter]) -> None:
        """Update the average with the weights after a step."""
        weights: list[torch.Tensor] = list(parameters)
        self.optimization_step += 1
        self.cur_decay_value = self.get_decay(self.optimization_step)
        for start in range(0, len(weights), TOGETHER):
            averages = self.shadow_params[start : start + TOGETHER]
            differences = torch._foreach_sub(averages, weights[start : start + TOGETHER])
            # not in place: on CPUs that would first round the factor to the dtype of the weights
            torch._foreach_sub_(averages, torch._foreach_mul(differences, 1 - self.cur_decay_value))
