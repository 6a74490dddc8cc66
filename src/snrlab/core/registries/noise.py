"""The registry of noise shapes: how the noise that the network must predict is made.

The shapes act on tensors and are defined where tensors are (`snrlab.train.step.noise`, which loads
through the entry point `snrlab.strategies`); they are named here because a recipe names one.
"""

from __future__ import annotations

from dataclasses import dataclass

from snrlab.core.registries.registry import KohyaProperties, Registry


@dataclass(frozen=True)
class NoiseProperties(KohyaProperties):
    """What the program has to know of a noise shape.

    Attributes:
        changes: what it does to the noise that a table by timestep does not show; empty for Gaussian noise.
    """

    changes: str = ""


NOISES = Registry("noise", properties=NoiseProperties)
