"""The training loop: a generator of steps. Logging, checkpoints and samples are its readers."""

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
from snrlab.train.optim.learning_rate import rate_factor
from snrlab.train.optim.optimizer import OneByOne, begin_step
from snrlab.train.step.objective import Losses


@dataclass(frozen=True, eq=False)
class Step:
    """What happened in one optimizer step.

    Attributes:
        index: counts from 0; epoch: passes over the data before it began.
        loss: the optimised loss, mean of `losses` over the global batch.
        timesteps, mse, weight: per slot of the global batch, [batch x accumulation].
        losses: the same of what is optimised: weight x mse x correction, unless there is another loss, a mask or an
            importance.
        correction: the same of what the sampling of timesteps divides by; None where that is always 1.
        drawn: the distribution that the timesteps were drawn from [T]; None where it is the recipe's density.
        stage: the step that the recipe's stage started at.
        grad_norm: before clipping; learning_rate: used in this step.
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


_SHOWN = 4  # slots that are named
GO_ON = "Mend it, and the same command with --resume goes on."
FORK = (
    "The same again ends the same: go on with a lower train.learning_rate from the last checkpoint, by --fork NAME "
    "instead of --resume."
)


class Untouched(str):
    """A note on an error that says that the step changed nothing; what asks for that goes by the note's type."""

    __slots__ = ()


def untouched(reason: BaseException) -> bool:
    """Whether the step that failed with this error left the job as it was after the step before."""
    return any(isinstance(note, Untouched) for note in getattr(reason, "__notes__", ()))


class DivergedError(UserError):
    """Training stopped because the loss or the gradient is not a number."""

    everywhere = True  # every process of the run finds it, and the main one says it

    def __init__(self, message: str) -> None:
        """With where it was and what may be the cause."""
        super().__init__(message, code="not-finite")


def steps(job: Job, start: int = 0) -> Iterator[Step]:
    """Train from step `start` to the end; each yielded step has been applied.

    An error left the job as it was after the step before where `untouched` says so.

    Raises:
        DivergedError: non-finite loss or gradient; the weights of the last good step are kept, but for those that
            `fused_backward` has updated already.
    """
    train = job.config.train
    for index in range(start, train.steps):
        factor = rate_factor(train, index)
        begin_step(job.optimizer, index, factor)
        with _untouched(job):
            found = _gradients(job, index)
        job.optimizer.step()
        job.optimizer.zero_grad()
        job.trained.constrain()
        if job.ema is not None:
            job.ema.step(job.parameters.values())
        draws = job.draws
        drawn, correction = draws.drawn(index), draws.correction(index, found.timesteps)
        draws.sampler.learn(found.timesteps.numpy(), found.mse.numpy())
        yield Step(
            index=index,
            epoch=job.conditions.epoch(index),
            loss=float(found.loss.mean()),
            timesteps=found.timesteps,
            mse=found.mse,
            weight=found.weight,
            losses=found.loss,
            grad_norm=found.grad_norm,
            learning_rate=train.learning_rate * factor,
            correction=correction,
            drawn=drawn.p if draws.sampler.memory is not None else None,
            stage=draws.stages[draws.stage(index)][0],
        )


@contextmanager
def _untouched(job: Job) -> Iterator[None]:
    """Note on an error in it that nothing has changed, where the backward pass updates no weights."""
    scale = replace(job.loss_scale)
    try:
        yield
    except Exception as reason:
        job.loss_scale.value, job.loss_scale.good = scale.value, scale.good
        if not (isinstance(job.optimizer, OneByOne) and job.optimizer.in_backward):
            job.optimizer.zero_grad()
            reason.add_note(Untouched("no weight was changed by the step that failed"))
        raise


class GlobalBatchResult(NamedTuple):
    """What the forward passes of a step found, on the CPU: per slot [batch x accumulation], and the gradient's norm."""

    timesteps: Tensor
    mse: Tensor
    weight: Tensor
    loss: Tensor
    grad_norm: float


def _gradients(job: Job, index: int) -> GlobalBatchResult:
    """Forward and backward over the global batch: gradients of its mean loss, with their norm limited."""
    while True:
        scale = job.loss_scale.value
        passes = [one_pass(job, index, micro, scale) for micro in range(job.config.train.gradient_accumulation)]
        found = _collect(job, index, passes, _norm(job, scale))
        bad = ~torch.isfinite(found.loss)
        if math.isfinite(found.grad_norm) and not bad.any():
            job.loss_scale.succeeded()
            return found
        job.optimizer.zero_grad()
        if bad.any() or not job.loss_scale.lower():
            raise _diverged(job, index, found.timesteps, bad)


def one_pass(job: Job, index: int, micro: int, scale: float) -> Losses:
    """One forward and backward pass; what it found, without gradients, still on the device."""
    train = job.config.train
    slots = job.processes.slots(micro, train.gradient_accumulation, train.batch_size)
    with job.trained.dropout.at(index, slots, job.device):
        batch = job.conditions.batch(job.components, index, slots, job.device)
        model = partial(denoise, job.components, text=batch.text, sizes=batch.sizes)
        losses = job.objective.losses(model, batch, index, slots)
        (scale * (losses.loss.sum() / job.total)).backward()
    return Losses(*(value.detach() for value in losses))


def _norm(job: Job, scale: float) -> Tensor:
    """The gradient's norm before it is limited, and the gradient limited; without the scale of the loss."""
    if isinstance(job.optimizer, OneByOne) and job.optimizer.in_backward:
        return job.optimizer.norm()
    # each process has the gradient of its slots' part of the mean, so the sum is that of the whole
    gradients = [p.grad for p in job.parameters.values() if p.grad is not None]
    job.processes.add_up(gradients)
    if scale != 1:
        for gradient in gradients:
            gradient.div_(scale)
    norm = torch.nn.utils.get_total_norm(gradients)
    if job.config.train.max_grad_norm:
        torch.nn.utils.clip_grads_with_norm_(job.parameters.values(), job.config.train.max_grad_norm, norm)
    return norm


def _collect(job: Job, index: int, passes: list[Losses], norm: Tensor) -> GlobalBatchResult:
    """All passes of all processes as one, with the one copy from the device that a step has."""
    own = torch.stack([torch.cat(column) for column in list(zip(*passes, strict=True))[1:]])
    columns = job.processes.gather(own)
    mse, weight, loss, last = torch.cat([columns.flatten(), norm.view(1).float()]).cpu().split(job.total)
    if job.processes.count == 1:
        timesteps = torch.cat([losses.timesteps for losses in passes])
    else:  # the others' draws are known here as well
        timesteps = job.draws.timesteps(index, np.arange(job.total))
    return GlobalBatchResult(timesteps, mse, weight, loss, float(last))


def _diverged(job: Job, index: int, timesteps: Tensor, bad: Tensor) -> DivergedError:
    """What is known of a step that has no finite loss or gradient: the pictures, t and SNRs that did it, and why."""
    slots = np.flatnonzero(bad.numpy()) if bad.any() else np.arange(job.total)
    _, indices = job.conditions.examples(index, slots)
    t = timesteps[torch.from_numpy(slots)].numpy()
    snr = job.draws.tables.snr[t]
    names = ", ".join(job.conditions.names[i] for i in indices[:_SHOWN])
    drawn = ", ".join(f"{step} (SNR {ratio:.3g})" for step, ratio in zip(t[:_SHOWN], snr[:_SHOWN], strict=True))
    more = f" and {len(slots) - _SHOWN} more" if len(slots) > _SHOWN else ""
    return DivergedError(
        f"step {index}: {'the loss' if bad.any() else 'the gradient'} is not a finite number (images {names}; "
        f"t {drawn}{more}). {_cause(job, index, slots)}"
    )


def _cause(job: Job, index: int, slots: NDArray[np.int64]) -> str:
    """What is not a finite number before a step that is none, and what to do."""
    batch = job.conditions.batch(job.components, index, slots, job.device)
    _, indices = job.conditions.examples(index, slots)
    for name, x0, text in zip([job.conditions.names[i] for i in indices], batch.x0, batch.text.hidden, strict=True):
        if not torch.isfinite(x0).all():
            return f"The latents of {name} are no numbers: look at the picture, and at its cache. {GO_ON}"
        if not torch.isfinite(text).all():
            return f"The embedding of the caption of {name} is no number: look at the model's text encoder. {GO_ON}"
    broken = first_nonfinite_weight(job.components)
    if broken is not None:
        return f"The weight {broken} holds what is not a number. {FORK}"
    return f"The training diverged. {FORK}"
