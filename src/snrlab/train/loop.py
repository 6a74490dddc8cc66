"""The training loop: a generator of steps. Logging, checkpoints and samples are its readers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from snrlab.core.errors import UserError
from snrlab.models.denoise import denoise
from snrlab.train.job import Job
from snrlab.train.learning_rate import rate_factor
from snrlab.train.objective import Losses
from snrlab.train.optimizer import set_rates


@dataclass(frozen=True, eq=False)
class Step:
    """What happened in one optimizer step.

    Attributes:
        index: counts from 0; epoch: passes over the data before it began.
        loss: the optimised loss, mean of weight x mse over the global batch.
        timesteps, mse, weight: per slot of the global batch, [batch x accumulation].
        grad_norm: before clipping; learning_rate: used in this step.
    """

    index: int
    epoch: int
    loss: float
    timesteps: Tensor
    mse: Tensor
    weight: Tensor
    grad_norm: float
    learning_rate: float


class DivergedError(UserError):
    """Training stopped because the loss or the gradient is not a number."""


def steps(job: Job, start: int = 0) -> Iterator[Step]:
    """Train from step `start` to the end; each yielded step has been applied.

    Raises:
        DivergedError: non-finite loss or gradient; the weights of the last good step are kept.
    """
    train = job.config.train
    for index in range(start, train.steps):
        factor = rate_factor(train, index)
        set_rates(job.optimizer, factor)
        passes = []
        for micro in range(train.gradient_accumulation):
            slots = np.arange(micro * train.batch_size, (micro + 1) * train.batch_size)
            batch = job.conditions.batch(job.components, index, slots, job.device)
            model = partial(denoise, job.components, text=batch.text, sizes=batch.sizes)
            losses = job.objective.losses(model, batch, index, slots)
            ((losses.weight * losses.mse).sum() / job.total).backward()
            passes.append(Losses(*(value.detach() for value in losses)))
        whole = Losses(*(torch.cat(column) for column in zip(*passes, strict=True)))
        norm = torch.nn.utils.clip_grad_norm_(job.parameters.values(), train.max_grad_norm or math.inf)
        _refuse_non_finite(job, index, whole, norm)
        job.optimizer.step()
        job.optimizer.zero_grad()
        if job.ema is not None:
            job.ema.step(job.parameters.values())
        yield Step(
            index=index,
            epoch=job.conditions.epoch(index),
            loss=float((whole.weight * whole.mse).mean()),
            timesteps=whole.timesteps.cpu(),
            mse=whole.mse.cpu(),
            weight=whole.weight.cpu(),
            grad_norm=float(norm),
            learning_rate=train.learning_rate * factor,
        )


def _refuse_non_finite(job: Job, index: int, losses: Losses, norm: Tensor) -> None:
    bad = ~torch.isfinite(losses.mse)
    if not bad.any() and torch.isfinite(norm):
        return
    slots = np.flatnonzero(bad.cpu().numpy()) if bad.any() else np.arange(job.total)
    _, indices = job.conditions.examples(index, slots)
    names = ", ".join(job.conditions.names[i] for i in indices[:4])
    timesteps = ", ".join(str(int(losses.timesteps[s])) for s in slots[:4])
    raise DivergedError(
        f"step {index}: {'the loss' if bad.any() else 'the gradient'} is not a finite number (images {names}; "
        f"t {timesteps}). Lower train.learning_rate; the last checkpoint is good."
    )
