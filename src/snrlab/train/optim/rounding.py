"""Stochastic rounding to bf16: up or down by chance, so that the mean is the number itself.

bf16 has 8 bits, so an update below 1/512 of a weight is lost when it is rounded to the nearest; rounded at random it
is there on average. Random bits are drawn where the weights are, from a generator seeded by (seed, step, weight):
a number for every weight and step would take longer on the CPU than the step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snrlab.core.random_streams import stream

LOW_BITS = 16  # of an fp32 number, which bf16 does not have


def generator(seed: int, step: int, index: int, device: torch.device) -> torch.Generator:
    """The generator for weight number `index` at a step, on its device."""
    found = torch.Generator(device)
    return found.manual_seed(int(stream(seed, "rounding", step, index).integers(2**63)))


def stochastic_bf16(x: Tensor, rng: torch.Generator) -> Tensor:
    """fp32 numbers as bf16, each rounded away from 0 with the probability that keeps its mean.

    >>> x = torch.full((1000,), 1 + 2**-9)  # a quarter of the way from 1 to the next bf16 number
    >>> up = (stochastic_bf16(x, torch.Generator().manual_seed(0)) > 1).float().mean()
    >>> bool(0.2 < up < 0.3)
    True
    """
    noise = torch.randint(0, 1 << LOW_BITS, x.shape, dtype=torch.int32, device=x.device, generator=rng)
    bits = (x.contiguous().view(torch.int32) + noise) & (-1 << LOW_BITS)  # a carry is the step away from 0
    return bits.view(torch.float32).bfloat16()
