"""The training loop: a generator of optimizer steps, which logging, checkpoints and samples read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snrlab.core.errors import UserError
from snrlab.models.denoise import denoise
from snrlab.models.nonfinite import first_nonfinite_weight
from snrlab.train.job import Job
from snrlab.train.optim.optimizer import OneByOne, begin_step
from snrlab.train.optim.rate_factor import rate_factor
from snrlab.train.step.objective import Losses


@dataclass(frozen=True, eq=False)
class Step:
    """The record of one optimizer step.

    Attributes:
        index: number of the step, from 0.
        epoch: passes over the data completed before the step.
        loss: the optimised loss, mean of `losses` over the global batch.
        timesteps, mse, weight: per slot of the global batch, [batch x accumulation x processes].
        losses: the optimised loss per slot: weight x mse x correction, unless the run has another loss, a mask or an
            importance.
        grad_norm: before clipping.
        learning_rate: used in this step.
        correction: factor per slot for sampling timesteps from another distribution than the density; None where it
            is always 1.
        drawn: the distribution that the timesteps were drawn from [T]; None where it is the recipe's density.
        stage: the step at which the recipe's stage started.
    """

    index: int
    epoch: int
    loss: float
    timesteps: Tensor
    mse: Tensor
    weight: Tensor
    losses: Tensor
    grad_norm: float
    learning_rate: float
    correction: Tensor | None = None
    drawn: NDArray[np.float64] | None = None
    stage: int = 0


_MAX_NAMED = 4  # slots that an error message names
RESUME_ADVICE = "Fix it, then resume the run."
FORK_ADVICE = (
    "Resuming would end in the same way. Start a new run from the last checkpoint, with a lower rate: "
    "snrlab train RUN --fork NAME --set train.learning_rate=..."
)


class Untouched(str):
    """Note on an error: the failed step changed nothing. Code recognises it by its type, never by its text."""

    __slots__ = ()


def untouched(error: BaseException) -> bool:
    """Whether the step that failed with this error left the job as it was before the step."""
    return any(isinstance(note, Untouched) for note in getattr(error, "__notes__", ()))


class DivergedError(UserError):
    """Training stopped because the loss or the gradient is not finite."""

    everywhere = True  # raised in every process of the run; the main one reports it

    def __init__(self, message: str) -> None:
        """Create it; the message says where it happened and what the cause may be."""
        super().__init__(message, code="not-finite")


def steps(job: Job, start: int = 0) -> Iterator[Step]:
    """Train from step `start` to the end; each yielded step has been applied.

    After an error for which `untouched` is true, the job is as it was before the failed step.

    Raises:
        DivergedError: non-finite loss or gradient; the weights of the last good step are kept, except those that
            `fused_backward` has already updated.
    """
    train = job.config.train
    for index in range(start, train.steps):
        factor = rate_factor(train, index)
        begin_step(job.optimizer, index, factor)
        with _note_if_untouched(job):
            batch_result = _compute_gradients(job, index)
        job.optimizer.step()
        job.optimizer.zero_grad()
        job.trained.constrain()
        if job.ema is not None:
            job.ema.step(job.parameters.values())
        draws = job.draws
        drawn, correction = draws.drawn(index), draws.correction(index, batch_result.timesteps)
        draws.sampler.learn(batch_result.timesteps.numpy(), batch_result.mse.numpy())
        yield Step(
            index=index,
            epoch=job.examples.epoch(index),
            loss=float(batch_result.loss.mean()),
            timesteps=batch_result.timesteps,
            mse=batch_result.mse,
            weight=batch_result.weight,
            losses=batch_result.loss,
            grad_norm=batch_result.grad_norm,
            learning_rate=train.learning_rate * factor,
            correction=correction,
            drawn=drawn.p if draws.sampler.memory is not None else None,
            stage=draws.stages[draws.stage(index)][0],
        )


@contextmanager
def _note_if_untouched(job: Job) -> Iterator[None]:
    """Context that adds the `Untouched` note to an error, unless the backward pass itself updates weights."""
    scale_before = replace(job.loss_scale)
    try:
        yield
    except Exception as error:
        job.loss_scale.value, job.loss_scale.good = scale_before.value, scale_before.good
        if not (isinstance(job.optimizer, OneByOne) and job.optimizer.in_backward):
            job.optimizer.zero_grad()
            error.add_note(Untouched("no weight was changed by the step that failed"))
        raise


class GlobalBatchResult(NamedTuple):
    """The forward passes of one step, on the CPU: values per slot of the global batch, and the gradient's norm."""

    timesteps: Tensor
    mse: Tensor
    weight: Tensor
    loss: Tensor
    grad_norm: float


def _compute_gradients(job: Job, index: int) -> GlobalBatchResult:
    """Run forward and backward over the global batch: the clipped gradients of its mean loss."""
    while True:
        scale = job.loss_scale.value
        passes = [one_pass(job, index, micro, scale) for micro in range(job.config.train.gradient_accumulation)]
        batch_result = _gather_results(job, index, passes, _sum_and_clip_gradients(job, scale))
        bad = ~torch.isfinite(batch_result.loss)
        if math.isfinite(batch_result.grad_norm) and not bad.any():
            job.loss_scale.succeeded()
            return batch_result
        job.optimizer.zero_grad()
        if bad.any() or not job.loss_scale.lower():
            raise _diverged_error(job, index, batch_result.timesteps, bad)


def one_pass(job: Job, index: int, micro: int, scale: float) -> Losses:
    """Run one forward and backward pass; its losses, detached and still on the device."""
    train = job.config.train
    slots = job.processes.slots(micro, train.gradient_accumulation, train.batch_size)
    with job.trained.dropout.at(index, slots, job.device):
        batch = job.examples.batch(job.components, index, slots, job.device)
        model = partial(denoise, job.components, text=batch.text, sizes=batch.sizes)
        losses = job.objective.losses(model, batch, index, slots)
        (scale * (losses.loss.sum() / job.total)).backward()
    return Losses(*(value.detach() for value in losses))


def _sum_and_clip_gradients(job: Job, scale: float) -> Tensor:
    """Sum the gradients over the processes, remove the loss scale and clip them; their norm before clipping."""
    if isinstance(job.optimizer, OneByOne) and job.optimizer.in_backward:
        return job.optimizer.norm()
    # each process has the gradient of its slots' part of the mean, so the sum is that of the whole
    gradients = [p.grad for p in job.parameters.values() if p.grad is not None]
    job.processes.sum_(gradients)
    if scale != 1:
        for gradient in gradients:
            gradient.div_(scale)
    norm = torch.nn.utils.get_total_norm(gradients)
    if job.config.train.max_grad_norm:
        torch.nn.utils.clip_grads_with_norm_(job.parameters.values(), job.config.train.max_grad_norm, norm)
    return norm


def _gather_results(job: Job, index: int, passes: list[Losses], norm: Tensor) -> GlobalBatchResult:
    """Join the passes of all processes, in the only copy from the device that a step makes."""
    local_columns = torch.stack([torch.cat(column) for column in list(zip(*passes, strict=True))[1:]])
    columns = job.processes.gather(local_columns)
    mse, weight, loss, last = torch.cat([columns.flatten(), norm.view(1).float()]).cpu().split(job.total)
    if job.processes.count == 1:
        timesteps = torch.cat([losses.timesteps for losses in passes])
    else:  # the draws of the other processes can be computed in this one
        timesteps = job.draws.timesteps(index, np.arange(job.total))
    return GlobalBatchResult(timesteps, mse, weight, loss, float(last))


def _diverged_error(job: Job, index: int, timesteps: Tensor, bad: Tensor) -> DivergedError:
    """The error of a step whose loss or gradient is not finite: its images, timesteps, SNRs and the likely cause."""
    slots = np.flatnonzero(bad.numpy()) if bad.any() else np.arange(job.total)
    _, indices = job.examples.images_at(index, slots)
    t = timesteps[torch.from_numpy(slots)].numpy()
    snr = job.draws.tables.snr[t]
    names = ", ".join(job.examples.names[i] for i in indices[:_MAX_NAMED])
    noise_levels = ", ".join(
        f"{step} (SNR {ratio:.3g})" for step, ratio in zip(t[:_MAX_NAMED], snr[:_MAX_NAMED], strict=True)
    )
    omitted = f" and {len(slots) - _MAX_NAMED} more" if len(slots) > _MAX_NAMED else ""
    return DivergedError(
        f"step {index}: {'the loss' if bad.any() else 'the gradient'} is not a finite number (images {names}; "
        f"t {noise_levels}{omitted}). {_explain_nonfinite(job, index, slots)}"
    )


def _explain_nonfinite(job: Job, index: int, slots: NDArray[np.int64]) -> str:
    """The first input or weight of a failed step that is not finite, and the way out."""
    batch = job.examples.batch(job.components, index, slots, job.device)
    _, indices = job.examples.images_at(index, slots)
    for name, x0, text in zip([job.examples.names[i] for i in indices], batch.x0, batch.text.hidden, strict=True):
        if not torch.isfinite(x0).all():
            return f"The latents of {name} are not finite: look at the image and its cache. {RESUME_ADVICE}"
        if not torch.isfinite(text).all():
            return f"The caption embedding of {name} is not finite: look at the text encoder. {RESUME_ADVICE}"
    bad_weight = first_nonfinite_weight(job.components)
    if bad_weight is not None:
        return f"The weight {bad_weight} is not finite. {FORK_ADVICE}"
    return f"The training diverged. {FORK_ADVICE}"
