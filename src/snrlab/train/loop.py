"""The training loop: a generator of steps. Logging, checkpoints and samples are its readers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from snrlab.config.run import TrainConfig
from snrlab.core.errors import UserError
from snrlab.train.job import Job
from snrlab.train.objective import Losses


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
        rate = learning_rate(train, index)
        for group in job.optimizer.param_groups:
            group["lr"] = rate
        passes = []
        for micro in range(train.gradient_accumulation):
            slots = np.arange(micro * train.batch_size, (micro + 1) * train.batch_size)
            x0, text = job.batch(index, slots)
            losses = job.objective.losses(partial(predict, job, text), x0, index, slots)
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
            epoch=index * job.total // len(job.conditions.latents),
            loss=float((whole.weight * whole.mse).mean()),
            timesteps=whole.timesteps.cpu(),
            mse=whole.mse.cpu(),
            weight=whole.weight.cpu(),
            grad_norm=float(norm),
            learning_rate=rate,
        )


def predict(job: Job, text: Tensor, x_t: Tensor, timesteps: Tensor) -> Tensor:
    """The network's output for noisy latents [B, C, h, w], timesteps [B] and text [B, L, D]."""
    bf16 = job.config.model.precision == "bf16"
    with torch.autocast(job.device.type, torch.bfloat16, enabled=bf16):
        return job.components.unet(x_t, timesteps, encoder_hidden_states=text).sample


def learning_rate(train: TrainConfig, step: int) -> float:
    """Linear warm-up from 0, then constant, or half a cosine down to 0 at the last step.

    >>> config = TrainConfig(steps=100, warmup_steps=10, learning_rate=1.0)
    >>> [round(learning_rate(config, s), 3) for s in (0, 9, 10, 55)]
    [0.1, 1.0, 1.0, 0.5]
    """
    if step < train.warmup_steps:
        return train.learning_rate * (step + 1) / train.warmup_steps
    if train.lr_schedule == "constant":
        return train.learning_rate
    progress = (step - train.warmup_steps) / (train.steps - train.warmup_steps)
    return train.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def _refuse_non_finite(job: Job, index: int, losses: Losses, norm: Tensor) -> None:
    bad = ~torch.isfinite(losses.mse)
    if not bad.any() and torch.isfinite(norm):
        return
    slots = np.flatnonzero(bad.cpu().numpy()) if bad.any() else np.arange(job.total)
    _, indices = job.examples(index, slots)
    names = ", ".join(job.conditions.names[i] for i in indices[:4])
    timesteps = ", ".join(str(int(losses.timesteps[s])) for s in slots[:4])
    raise DivergedError(
        f"step {index}: {'the loss' if bad.any() else 'the gradient'} is not a finite number (images {names}; "
        f"t {timesteps}). Lower train.learning_rate; the last checkpoint is good."
    )
