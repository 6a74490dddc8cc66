"""What timesteps are drawn from at a step, and what each loss is multiplied by for it, as far as that is learnt.

The network's error is remembered by equal parts of the timesteps, as a running mean in which each image counts
1 - decay. Only errors of whole steps, of all slots of the global batch, go in: every process has the same memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from snrlab.core.arrays import Array
from snrlab.core.recipe import Recipe, Tables
from snrlab.core.registries.registry import Choice

PRIOR = 0.05  # images' parts of a running mean that the mean over all parts counts for, while little is known


class TimestepLaw(NamedTuple):
    """By timestep [T]: the probability that it is drawn with, and what its loss is multiplied by for that."""

    p: Array
    correction: Array


@dataclass(eq=False)
class ErrorMemory:
    """The running mean of the squared error by part of the timesteps.

    Attributes:
        decay: what is left of a part's memory after an image in it.
        total, seen: weighted sums of errors and of their weights [bins]; their ratio is the mean.
    """

    decay: float
    total: Array
    seen: Array

    def learn(self, bins: NDArray[np.int64], mse: Array) -> None:
        """Take in the errors of a step's images, in these parts.

        >>> memory = ErrorMemory(0.5, np.zeros(2), np.zeros(2))
        >>> memory.learn(np.array([0, 0]), np.array([1.0, 3.0]))
        >>> memory.total / 0.75, memory.seen
        (array([2., 0.]), array([0.75, 0.  ]))
        """
        for part in np.unique(bins):
            own = mse[bins == part]
            left = self.decay ** len(own)  # together, not one after the other: slots have no order in time
            self.total[part] = left * self.total[part] + (1 - left) * own.mean()
            self.seen[part] = left * self.seen[part] + (1 - left)

    def mean(self) -> Array:
        """The error of each part; where little is known it leans to the mean of all, which is 1 at first."""
        overall = self.total.sum() / self.seen.sum() if self.seen.any() else 1.0
        return (self.total + PRIOR * overall) / (self.seen + PRIOR)


@dataclass(eq=False)
class Sampler:
    """Where a recipe's timesteps are drawn from.

    Attributes:
        length: timesteps of the schedule.
        steps: optimizer steps whose errors are in the memory.
        memory: None where nothing is learnt.
    """

    length: int
    steps: int = 0
    memory: ErrorMemory | None = None
    _known: dict[int, TimestepLaw] = field(default_factory=dict)  # by stage, until more is learnt

    @classmethod
    def of(cls, recipe: Recipe) -> Sampler:
        """The sampler of a recipe before its first step."""
        choice, length = learning(recipe), recipe.noise_schedule().num_train_timesteps
        if choice is None:
            return cls(length)
        bins = choice.params["bins"]
        return cls(length, memory=ErrorMemory(choice.params["decay"], np.zeros(bins), np.zeros(bins)))

    def drawn(self, stage: int, recipe: Recipe, tables: Tables) -> TimestepLaw:
        """What the timesteps of a stage of the recipe are drawn from now."""
        if stage not in self._known:
            self._known[stage] = self._drawn(recipe, tables)
        return self._known[stage]

    def _drawn(self, recipe: Recipe, tables: Tables) -> TimestepLaw:
        p, ones = tables.p, np.ones_like(tables.p)
        if self.memory is None:
            return TimestepLaw(p, ones)
        mse = self.memory.mean()[self._part(tables.t, self.memory)]
        of_errors = recipe.density.entry.properties.of_errors
        if of_errors is not None:
            return TimestepLaw(of_errors(p, tables.weight, mse, **recipe.density.params), ones)
        drawn = recipe.sampling.entry.fn(p, tables.weight, mse, **recipe.sampling.params)
        return TimestepLaw(drawn, np.divide(p, drawn, out=ones, where=drawn > 0))

    def learn(self, timesteps: NDArray[np.int64], mse: Array) -> None:
        """Take in a whole step: the timesteps and unweighted errors of all slots of its global batch."""
        if self.memory is None:
            return
        self.memory.learn(self._part(timesteps, self.memory), mse.astype(np.float64))
        self.steps += 1
        self._known.clear()

    def restore(self, steps: int, total: Array, seen: Array) -> None:
        """Go on from a memory that was saved."""
        assert self.memory is not None
        self.steps = steps
        self.memory.total[:], self.memory.seen[:] = total, seen
        self._known.clear()

    def _part(self, timesteps: NDArray[np.int64], memory: ErrorMemory) -> NDArray[np.int64]:
        return timesteps * len(memory.seen) // self.length


def learning(recipe: Recipe) -> Choice | None:
    """The part of a recipe that learns from the errors: its density or its sampling; None where none does."""
    if recipe.density.entry.properties.learns:
        return recipe.density
    return recipe.sampling if recipe.sampling.entry.properties.learns else None
