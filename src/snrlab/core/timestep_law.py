"""Timestep sampler: the distribution that timesteps are drawn from at a step, and the correction of each loss.

Where it is learnt, it follows the network's error in equal bins of the timesteps, a running mean in which each image
has the weight 1 - decay. It is updated by whole steps with the errors of all slots of the global batch, so that every
process has the same memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from snrlab.core.arrays import Array
from snrlab.core.recipe import Recipe, Tables
from snrlab.core.registries.registry import Choice

PRIOR_WEIGHT = 0.05  # weight of the overall mean in the mean of a bin, in units of `seen`


class TimestepLaw(NamedTuple):
    """By timestep [T]: the probability `p` of drawing it, and the factor `correction` that its loss gets in return."""

    p: Array
    correction: Array


@dataclass(eq=False)
class ErrorMemory:
    """Running mean of the squared error in each bin of the timesteps.

    Attributes:
        decay: factor on the memory of a bin for each image in it.
        total, seen: weighted sums of errors and of their weights [bins]; their ratio is the mean.
    """

    decay: float
    total: Array
    seen: Array

    def learn(self, bins: NDArray[np.int64], mse: Array) -> None:
        """Add the errors `mse` [N] of a step's images, which lie in these bins [N].

        >>> memory = ErrorMemory(0.5, np.zeros(2), np.zeros(2))
        >>> memory.learn(np.array([0, 0]), np.array([1.0, 3.0]))
        >>> memory.total / 0.75, memory.seen
        (array([2., 0.]), array([0.75, 0.  ]))
        """
        for index in np.unique(bins):
            errors = mse[bins == index]
            kept = self.decay ** len(errors)  # together, not one after the other: slots have no order in time
            self.total[index] = kept * self.total[index] + (1 - kept) * errors.mean()
            self.seen[index] = kept * self.seen[index] + (1 - kept)

    def mean(self) -> Array:
        """Mean error of each bin [bins], drawn towards the overall mean (at first 1) where few errors are known."""
        overall = self.total.sum() / self.seen.sum() if self.seen.any() else 1.0
        return (self.total + PRIOR_WEIGHT * overall) / (self.seen + PRIOR_WEIGHT)


@dataclass(eq=False)
class Sampler:
    """Source of the distribution that a recipe's timesteps are drawn from.

    Attributes:
        length: number of timesteps of the schedule.
        steps: optimizer steps whose errors are in the memory.
        memory: running mean of the errors; None where nothing is learnt.
    """

    length: int
    steps: int = 0
    memory: ErrorMemory | None = None
    _laws: dict[int, TimestepLaw] = field(default_factory=dict)  # cache by stage, emptied when the memory changes

    @classmethod
    def of(cls, recipe: Recipe) -> Sampler:
        """The sampler of a recipe before its first step."""
        choice, length = learning_choice(recipe), recipe.noise_schedule().num_train_timesteps
        if choice is None:
            return cls(length)
        bins = choice.params["bins"]
        return cls(length, memory=ErrorMemory(choice.params["decay"], np.zeros(bins), np.zeros(bins)))

    def law(self, stage: int, recipe: Recipe, tables: Tables) -> TimestepLaw:
        """The current distribution of timesteps in a stage, given the recipe and tables of that stage."""
        if stage not in self._laws:
            self._laws[stage] = self._compute_law(recipe, tables)
        return self._laws[stage]

    def _compute_law(self, recipe: Recipe, tables: Tables) -> TimestepLaw:
        p, ones = tables.p, np.ones_like(tables.p)
        if self.memory is None:
            return TimestepLaw(p, ones)
        mse = self.memory.mean()[self._bins(tables.t, self.memory)]
        of_errors = recipe.density.entry.properties.of_errors
        if of_errors is not None:
            return TimestepLaw(of_errors(p, tables.weight, mse, **recipe.density.params), ones)
        drawn = recipe.sampling.entry.fn(p, tables.weight, mse, **recipe.sampling.params)
        return TimestepLaw(drawn, np.divide(p, drawn, out=ones, where=drawn > 0))

    def learn(self, timesteps: NDArray[np.int64], mse: Array) -> None:
        """Add a whole step: timesteps [N] and unweighted errors [N] of all slots of its global batch."""
        if self.memory is None:
            return
        self.memory.learn(self._bins(timesteps, self.memory), mse.astype(np.float64))
        self.steps += 1
        self._laws.clear()

    def restore(self, steps: int, total: Array, seen: Array) -> None:
        """Restore a saved memory."""
        assert self.memory is not None
        self.steps = steps
        self.memory.total[:], self.memory.seen[:] = total, seen
        self._laws.clear()

    def _bins(self, timesteps: NDArray[np.int64], memory: ErrorMemory) -> NDArray[np.int64]:
        return timesteps * len(memory.seen) // self.length


def learning_choice(recipe: Recipe) -> Choice | None:
    """The density or sampling of a recipe that learns from the errors; None if neither does."""
    if recipe.density.entry.properties.learns:
        return recipe.density
    return recipe.sampling if recipe.sampling.entry.properties.learns else None
