"""Dropout in the adapters: neuron, rank and module dropout as kohya's network has them, drawn from our own streams.

All three act on what comes out of the down matrix, h = down x [B, ..., rank]:

    dropout         elements of h are 0, the others 1 / (1 - p) times as large
    rank_dropout    whole ranks of h are 0 for an example, the others 1 / (1 - p) times as large
    module_dropout  all of h is 0 for an example: the layer is the base's; the others keep their size

Kohya draws the last one once for a batch; here, as everything else, it is drawn for each example, so that batch 4
equals 2 x 2 accumulated. A draw depends on the seed, the step, the slot and the layer's place: gradient checkpointing,
which computes a layer a second time, sees the same one, and a resumed run too.
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
    """Dropout for a list of adapters; it acts within `at` only, so sampling and validation never see it.

    Attributes:
        seed: of the run.
        total: slots in the global batch.
        neuron, rank, module: parts that are left out.
    """

    seed: int
    total: int
    neuron: float = 0.0
    rank: float = 0.0
    module: float = 0.0
    _ranks: list[int] = field(default_factory=list)
    _where: tuple[int, NDArray[np.int64]] | None = None
    _keep: Tensor | None = None

    @property
    def active(self) -> bool:
        """Whether anything is ever left out."""
        return bool(self.neuron or self.rank or self.module)

    def attach(self, down: Sequence[nn.Linear | nn.Conv2d]) -> None:
        """Act on the output of these down matrices from now on; without any dropout they stay as they are."""
        if not self.active:
            return
        for layer in down:
            place = len(self._ranks)
            self._ranks.append(layer.weight.shape[0])
            layer.register_forward_hook(lambda _, __, h, place=place: self._drop(h, place))

    @contextmanager
    def at(self, step: int, slots: NDArray[np.int64], device: torch.device) -> Iterator[None]:
        """Within it, forward passes (and their backward passes) are of these slots of a step."""
        if not self.active:
            yield
            return
        self._where = (step, slots)
        self._keep = torch.stack([self._factors(step, int(slot)) for slot in slots], dim=1).to(device)
        try:
            yield
        finally:
            self._where = self._keep = None

    def _factors(self, step: int, slot: int) -> Tensor:
        """What the ranks of each adapter are multiplied by for an example: [adapters, largest rank]."""
        rng = stream(self.seed, "adapter", step, slot)
        modules = rng.random((len(self._ranks), 1)) >= self.module
        ranks = rng.random((len(self._ranks), max(self._ranks))) >= self.rank
        return torch.from_numpy((modules & ranks) / (1 - self.rank)).float()

    def _drop(self, h: Tensor, place: int) -> Tensor:
        if self._where is None or self._keep is None:
            return h
        step, slots = self._where
        each = h.shape[0] // len(slots)  # rows of one example: a long caption has several in the text encoder
        convolution = h.ndim == 4
        keep = self._keep[place, :, : self._ranks[place]].repeat_interleave(each, 0).to(h)
        shape = (len(keep), -1, 1, 1) if convolution else (len(keep), *[1] * (h.ndim - 2), -1)
        h = h * keep.view(shape)
        return h * self._elements(h, place, step, slots) if self.neuron else h

    def _elements(self, h: Tensor, place: int, step: int, slots: NDArray[np.int64]) -> Tensor:
        shape = (h.shape[0] // len(slots), *h.shape[1:])
        # slots past the global batch are nobody's: each adapter has a batch of them
        rngs = [stream(self.seed, "adapter", step, self.total * (1 + place) + int(slot)) for slot in slots]
        keep = np.concatenate([rng.random(shape, dtype=np.float32) >= self.neuron for rng in rngs])
        return torch.from_numpy(keep).to(h.device) / (1 - self.neuron)
