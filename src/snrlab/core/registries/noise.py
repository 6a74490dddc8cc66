"""The registry of noise shapes: how the noise that the network must predict is made.

The shapes act on tensors and are defined where tensors are (`snrlab.train.step.noise`, which loads
through the entry point `snrlab.strategies`); they are named here because a recipe names one.
"""

from __future__ import annotations

from snrlab.core.registries.registry import Registry

NOISES = Registry("noise")
