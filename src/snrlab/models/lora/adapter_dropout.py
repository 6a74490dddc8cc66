"""Dropout in the adapters: kohya's neuron, rank and module dropout, drawn from the run's random streams.

All three act on the output of the down matrix, h = down x [B, ..., rank]:

    dropout         elements of h are set to 0, the others scaled by 1 / (1 - p)
    rank_dropout    whole ranks of h are set to 0 for an example, the others scaled by 1 / (1 - p)
    module_dropout  all of h is set to 0 for an example, which leaves the base layer; the others are not scaled

Kohya draws module dropout once per batch; here, like everything else, it is drawn for each example, so that a batch of
4 equals 2 accumulated batches of 2. A draw depends on the seed, the step, the slot and the layer's index, so gradient
checkpointing, which computes a layer twice, sees the same draw both times, and so does a resumed run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from snrlab.core.random_streams import stream


@dataclass(eq=False)
class AdapterDropout:
    """Dropout for a list of adapters; it is active only within `at`, so it never affects sampling and validation.

    Attributes:
        seed: seed of the run.
        total: number of slots in the global batch.
        neuron, rank, module: probabilities of dropout, 0..1.
    """

    seed: int
    total: int
    neuron: float = 0.0
    rank: float = 0.0
    module: float = 0.0
    _ranks: list[int] = field(default_factory=list)
    _current: tuple[int, NDArray[np.int64]] | None = None
    _keep: Tensor | None = None

    @property
    def active(self) -> bool:
        """Whether any of the probabilities is above 0."""
        return bool(self.neuron or self.rank or self.module)

    def attach(self, down: Sequence[nn.Linear | nn.Conv2d]) -> None:
        """Register dropout on the output of these down matrices; does nothing where dropout is not active."""
        if not self.active:
            return
        for layer in down:
            index = len(self._ranks)
            self._ranks.append(layer.weight.shape[0])
            layer.register_forward_hook(lambda _, __, h, index=index: self._apply(h, index))

    @contextmanager
    def at(self, step: int, slots: NDArray[np.int64], device: torch.device) -> Iterator[None]:
        """Context whose forward and backward passes are of these slots of a step."""
        if not self.active:
            yield
            return
        self._current = (step, slots)
        self._keep = torch.stack([self._factors(step, int(slot)) for slot in slots], dim=1).to(device)
        try:
            yield
        finally:
            self._current = self._keep = None

    def _factors(self, step: int, slot: int) -> Tensor:
        """Factors by which the ranks of each adapter are multiplied for an example: [adapters, largest rank]."""
        rng = stream(self.seed, "adapter", step, slot)
        modules = rng.random((len(self._ranks), 1)) >= self.module
        ranks = rng.random((len(self._ranks), max(self._ranks))) >= self.rank
        return torch.from_numpy((modules & ranks) / (1 - self.rank)).float()

    def _apply(self, h: Tensor, index: int) -> Tensor:
        if self._current is None or self._keep is None:
            return h
        step, slots = self._current
        rows_per_example = h.shape[0] // len(slots)  # a long caption has several rows in the text encoder
        convolution = h.ndim == 4
        keep = self._keep[index, :, : self._ranks[index]].repeat_interleave(rows_per_example, 0).to(h)
        shape = (len(keep), -1, 1, 1) if convolution else (len(keep), *[1] * (h.ndim - 2), -1)
        h = h * keep.view(shape)
        return h * self._elements(h, index, step, slots) if self.neuron else h

    def _elements(self, h: Tensor, index: int, step: int, slots: NDArray[np.int64]) -> Tensor:
        shape = (h.shape[0] // len(slots), *h.shape[1:])
        # slot numbers beyond the global batch are free: each adapter takes a batch of them
        rngs = [stream(self.seed, "adapter", step, self.total * (1 + index) + int(slot)) for slot in slots]
        keep = np.concatenate([rng.random(shape, dtype=np.float32) >= self.neuron for rng in rngs])
        return torch.from_numpy(keep).to(h.device) / (1 - self.neuron)
