"""Estimate of the memory that a run needs on the training device.

Weights, gradients, the optimizer's state and an average are counted exactly, activations by a pass without data
(`snrlab.train.checks.memory_peak`). The rest cannot be counted beforehand and is assumed to be `RESERVE`.
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

RESERVE = 2**29  # bytes; CUDA's context, the workspace of its convolutions, and gaps between allocations
COPIES = 4  # fp32 copies of a weight during its update: weight, gradient, update, square


@dataclass(frozen=True)
class MemoryEstimate:
    """Estimated bytes on the training device.

    Attributes:
        weights: of all networks that stay on the device, with their adapters.
        gradients: of all trained weights, or of the largest one where each gradient is used and freed at once.
        optimizer: its state.
        average: the average of the weights (train.ema).
        activations: peak of one forward and backward pass.
        update: peak of updating the largest weight.
        reserve: what a GPU takes in addition; assumed.
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
        """The sum of all parts."""
        return sum(getattr(self, field.name) for field in fields(self))

    def __str__(self) -> str:
        """The total in GiB, and its parts."""
        parts = ", ".join(
            f"{f.name} {getattr(self, f.name) / 2**30:.2f}" for f in fields(self) if getattr(self, f.name)
        )
        return f"{self.total / 2**30:.2f} GiB ({parts})"


def estimate(job: Job) -> MemoryEstimate:
    """The memory that a prepared run will need if all batches are like its first."""
    slots = np.arange(job.config.train.batch_size)
    with torch.no_grad():
        batch = job.examples.batch(job.components, 0, slots, job.device)
    on_device = [name for name, network in job.components.networks.items() if network.device.type == job.device.type]
    needed = estimate_of(job.config.train, job.components, job.parameters, batch, on_device)
    return needed if job.device.type == "cuda" else replace(needed, reserve=0)


def estimate_of(
    train: TrainConfig,
    components: Components,
    parameters: Mapping[str, nn.Parameter],
    batch: Batch,
    on_device: Collection[str],
) -> MemoryEstimate:
    """The memory that training these weights of a model will need on a GPU.

    Args:
        train: how they are trained.
        components: the model with its adapters; only shapes and dtypes count, so it may be on `meta`.
        parameters: the trained weights by name.
        batch: input of a forward pass; only shapes count.
        on_device: names of the networks that stay on the device.
    """
    sizes = {name: p.numel() * p.element_size() for name, p in parameters.items()}
    state = train.optimizer.entry.properties.state_bytes
    networks = [components.networks[name] for name in on_device]
    largest = max(p.numel() for p in parameters.values())
    return MemoryEstimate(
        weights=sum(t.numel() * t.element_size() for n in networks for t in (*n.parameters(), *n.buffers())),
        gradients=max(sizes.values()) if train.fused_backward else sum(sizes.values()),
        optimizer=sum(state(tuple(p.shape)) for p in parameters.values()),
        average=sum(sizes.values()) if train.ema else 0,
        activations=_activation_bytes(components, parameters, batch),
        update=COPIES * 4 * largest,
        reserve=RESERVE,
    )


def _activation_bytes(components: Components, parameters: Mapping[str, nn.Parameter], batch: Batch) -> int:
    mode = FakeTensorMode()
    trained_text = [
        n for n in components.networks if n.startswith("text_") and any(p.startswith(f"{n}.") for p in parameters)
    ]
    # Any: mypy would check each network against the type of every field
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
