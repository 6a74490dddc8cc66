"""How much memory a run needs on the training device, by what will be allocated there.

Weights, gradients, the optimizer's state and an average are counted exactly, activations by a pass without data
(`snrlab.train.checks.memory_peak`). What nobody can count beforehand is an assumption, `RESERVE`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from snrlab.config.sections.train import TrainConfig
from snrlab.models.components import Components
from snrlab.models.denoise import denoise
from snrlab.models.encoding.encode import TextEmbeddings, encode_text
from snrlab.train.checks.memory_peak import like, peak, without_data
from snrlab.train.job import Job
from snrlab.train.step.batch import Batch

RESERVE = 2**29  # bytes; CUDA's own context, the workspace of its convolutions, and gaps between allocations
COPIES = 4  # fp32 copies of a weight that an optimizer holds while it updates it: weight, gradient, update, square


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on the training device.

    Attributes:
        weights: of all networks that stay there, adapters in them.
        gradients: of all trained weights, or of the largest one where each is used at once.
        optimizer: its state.
        average: the average of the weights (train.ema).
        activations: what one forward and backward pass takes, at most.
        update: what updating the largest weight takes for a moment.
        reserve: what a GPU takes besides; assumed.
    """

    weights: int
    gradients: int
    optimizer: int
    average: int
    activations: int
    update: int
    reserve: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(getattr(self, field.name) for field in fields(self))

    def __str__(self) -> str:
        """In GiB, with what it is made of."""
        parts = ", ".join(
            f"{f.name} {getattr(self, f.name) / 2**30:.2f}" for f in fields(self) if getattr(self, f.name)
        )
        return f"{self.total / 2**30:.2f} GiB ({parts})"


def estimate(job: Job) -> MemoryEstimate:
    """What a prepared run will need, with batches like its first."""
    slots = np.arange(job.config.train.batch_size)
    with torch.no_grad():
        batch = job.conditions.batch(job.components, 0, slots, job.device)
    there = [name for name, network in job.components.networks.items() if network.device.type == job.device.type]
    found = estimate_of(job.config.train, job.components, job.parameters, batch, there)
    return found if job.device.type == "cuda" else replace(found, reserve=0)


def estimate_of(
    train: TrainConfig,
    components: Components,
    parameters: Mapping[str, nn.Parameter],
    batch: Batch,
    there: Collection[str],
) -> MemoryEstimate:
    """What training these weights of a model will need on a GPU.

    Args:
        train: how they are trained.
        components: the model, adapters on it; only shapes and number formats count, so it may be on `meta`.
        parameters: the trained weights by name.
        batch: what a forward pass is given; only shapes count.
        there: names of the networks that stay on the device.
    """
    sizes = {name: p.numel() * p.element_size() for name, p in parameters.items()}
    state = train.optimizer.entry.properties.state_bytes
    kept = [components.networks[name] for name in there]
    largest = max(p.numel() for p in parameters.values())
    return MemoryEstimate(
        weights=sum(t.numel() * t.element_size() for n in kept for t in (*n.parameters(), *n.buffers())),
        gradients=max(sizes.values()) if train.fused_backward else sum(sizes.values()),
        optimizer=sum(state(tuple(p.shape)) for p in parameters.values()),
        average=sum(sizes.values()) if train.ema else 0,
        activations=_activations(components, parameters, batch),
        update=COPIES * 4 * largest,
        reserve=RESERVE,
    )


def _activations(components: Components, parameters: Mapping[str, nn.Parameter], batch: Batch) -> int:
    mode = FakeTensorMode()
    trained_text = [
        n for n in components.networks if n.startswith("text_") and any(p.startswith(f"{n}.") for p in parameters)
    ]
    # Any: mypy would hold each network against every field
    networks: dict[str, Any] = {n: without_data(components.networks[n], mode) for n in ("unet", *trained_text)}
    model = replace(components, **networks)
    x_t, hidden = like(batch.x0, mode), like(batch.text.hidden, mode)
    pooled = None if batch.text.pooled is None else like(batch.text.pooled, mode)
    sizes = None if batch.sizes is None else like(batch.sizes, mode)
    with mode:
        timesteps = torch.zeros(len(x_t), dtype=torch.int64)

    def loss() -> torch.Tensor:
        text = encode_text(model, [""] * len(x_t)) if trained_text else TextEmbeddings(hidden, pooled)
        return denoise(model, x_t, timesteps, text, sizes).float().square().mean()

    return peak(mode, networks.values(), loss)
