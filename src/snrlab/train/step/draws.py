"""The random tensors of a training step; every slot of the global batch has its own random streams."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snrlab.core.random_streams import Purpose, inverse_cdf, stream, uniforms
from snrlab.core.recipe import Recipe, Tables
from snrlab.core.timestep_law import Sampler, TimestepLaw

Slots = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class StepRandomness:
    """Random tensors for a recipe; methods depend only on the step, the slots and what the sampling has learnt.

    Attributes:
        recipe, tables: those of the first stage.
        seed: of the run.
        total: slots in the global batch: batch x accumulation x processes.
    """

    recipe: Recipe
    tables: Tables
    seed: int
    total: int

    @cached_property
    def stages(self) -> tuple[tuple[int, Recipe, Tables], ...]:
        """The first step of each stage, its recipe and its tables."""
        (_, first), *later = self.recipe.by_stage()
        return ((0, first, self.tables), *((start, recipe, recipe.tables()) for start, recipe in later))

    @cached_property
    def sampler(self) -> Sampler:
        """The sampler of timesteps, with its memory if it learns."""
        return Sampler.of(self.recipe)

    def stage(self, step: int) -> int:
        """Index of the stage that a step belongs to."""
        return bisect_right([start for start, _, _ in self.stages], step) - 1

    def drawn(self, step: int) -> TimestepLaw:
        """The distribution that a step's timesteps are drawn from, and the correction of their losses."""
        stage = self.stage(step)
        _, recipe, tables = self.stages[stage]
        return self.sampler.law(stage, recipe, tables)

    def timesteps(self, step: int, slots: Slots) -> Tensor:
        """Timesteps of slots, drawn by the recipe's sampling: int64 [B]."""
        stratified = self.recipe.sampling.entry.properties.stratified
        u = uniforms(self.seed, step, slots, self.total, stratified=stratified)
        return torch.from_numpy(inverse_cdf(self.drawn(step).p, u))

    def correction(self, step: int, timesteps: Tensor) -> Tensor | None:
        """Factors on the losses, the density over the distribution drawn from [B]; None where always 1."""
        if not self.recipe.sampling.entry.properties.learns:
            return None
        return torch.from_numpy(self.drawn(step).correction[timesteps.numpy()]).float()

    def noise(self, step: int, slots: Slots, like: Tensor) -> Tensor:
        """The noise that input and target share, in the recipe's shape, for clean latents `like`: [B, C, h, w]."""
        return torch.stack([self._noise_of(step, int(s), x0) for s, x0 in zip(slots, like, strict=True)]).to(
            like.device
        )

    def extra_noise(self, step: int, slots: Slots, timesteps: Tensor, like: Tensor) -> Tensor | float:
        """gamma(t) xi, the noise that only the input gets: [B, C, h, w], or 0.0 without perturbation."""
        _, recipe, tables = self.stages[self.stage(step)]
        perturbation = recipe.perturbation
        if perturbation is None:
            return 0.0
        xi = torch.stack([self._normal("perturbation", step, int(s), like) for s in slots]).to(like.device)
        gamma = torch.from_numpy(tables.ip_gamma).float()[timesteps]
        if perturbation.entry.properties.random_strength:
            # the table holds the rms of gamma U(0, 1), which is gamma / sqrt(3)
            gamma = gamma * 3**0.5 * self._strengths(step, slots, perturbation.params["per"])
        return xi * gamma.to(like.device).view(-1, 1, 1, 1)

    def augmentation(self, step: int, slots: Slots) -> NDArray[np.float64]:
        """Uniforms in [0, 1) for mirroring and for the position of a random crop, across and down: [B, 3]."""
        return np.array([stream(self.seed, "augmentation", step, int(s)).random(3) for s in slots])

    def _strengths(self, step: int, slots: Slots, per: str) -> Tensor:
        if per == "batch":  # a slot no example has
            return torch.full((len(slots),), stream(self.seed, "perturbation", step, self.total).random())
        # from another stream than the slot's xi, so that xi is the same with a fixed strength
        u = [stream(self.seed, "perturbation", step, self.total + 1 + int(s)).random() for s in slots]
        return torch.tensor(u, dtype=torch.float32)

    def _noise_of(self, step: int, slot: int, x0: Tensor) -> Tensor:
        rng = stream(self.seed, "noise", step, slot)
        eps = torch.from_numpy(rng.standard_normal(x0.shape, dtype=np.float32))
        return eps if self.recipe.noise is None else self.recipe.noise(eps, x0, rng)

    def _normal(self, purpose: Purpose, step: int, slot: int, like: Tensor) -> Tensor:
        rng = stream(self.seed, purpose, step, slot)
        return torch.from_numpy(rng.standard_normal(like.shape[1:], dtype=np.float32))
