"""Stochastic rounding to bf16: up or down at random, so that the mean is the number itself.

bf16 has 8 bits, so an update below 1/512 of a weight is lost when it is rounded to the nearest; rounded at random it
is kept on average. Random bits are drawn on the device of the weights, from a generator seeded by (seed, step,
weight): drawing them on the CPU would take longer than the step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snrlab.core.random_streams import stream

LOW_BITS = 16  # bits of an fp32 number that bf16 lacks


def generator(seed: int, step: int, index: int, device: torch.device) -> torch.Generator:
    """The random generator for weight number `index` at a step, on the weight's device."""
    rng = torch.Generator(device)
    return rng.manual_seed(int(stream(seed, "rounding", step, index).integers(2**63)))


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
