"""The pieces of state that a step changes: the one list of what a checkpoint contains.

A piece has a name, a function that takes it out of a job as tensors and plain values, and one that puts it back, to the
bit. The learning rate, the data order and every random draw are functions of the step, so they are not state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from snrlab.core.errors import UserError
from snrlab.train.job import Job
from snrlab.train.optim.optimizer import named_optimizers
from snrlab.train.optim.optimizer_state import Numbers, group_by_owner, put_state, take_state

Tensors = Mapping[str, Tensor]
Plain = Any  # values that JSON keeps to the bit: integers, floats, text, None, and lists and dicts of them


class UnfitError(UserError):
    """State that does not fit the job; the message names the piece."""

    def __init__(self, message: str) -> None:
        """Create it; the message names what does not fit."""
        super().__init__(message, code="checkpoint-mismatch")


@dataclass(frozen=True)
class Piece:
    """One piece of state.

    Attributes:
        name: of the piece in a checkpoint.
        take: gives its tensors by name, and its other values.
        put: copies the same back into a job made from the same run file; UnfitError if they do not fit.
    """

    name: str
    take: Callable[[Job], tuple[Tensors, Plain]]
    put: Callable[[Job, Tensors, Plain], None]


def _take_weights(job: Job) -> tuple[Tensors, Plain]:
    return {name: parameter.detach() for name, parameter in job.parameters.items()}, None


def _put_weights(job: Job, tensors: Tensors, plain: Plain) -> None:
    _refuse_other_shapes("trained weights", tensors, job.parameters)
    for name, parameter in job.parameters.items():
        parameter.data.copy_(tensors[name])


def _take_average(job: Job) -> tuple[Tensors, Plain]:
    if job.ema is None:
        return {}, None
    shadows = dict(zip(job.parameters, job.ema.shadow_params, strict=True))
    return shadows, {"updates": job.ema.optimization_step, "decay": job.ema.cur_decay_value}


def _put_average(job: Job, tensors: Tensors, plain: Plain) -> None:
    if (job.ema is None) != (plain is None):
        raise UnfitError("an average of the weights (train.ema)")
    if job.ema is not None:
        shadows = dict(zip(job.parameters, job.ema.shadow_params, strict=True))
        _refuse_other_shapes("averaged weights", tensors, shadows)
        for name, shadow in shadows.items():
            shadow.copy_(tensors[name])
        job.ema.optimization_step, job.ema.cur_decay_value = plain["updates"], plain["decay"]


def _take_optimizer(job: Job) -> tuple[Tensors, Plain]:
    tensors: dict[str, Tensor] = {}
    numbers = []
    for optimizer, parameters in named_optimizers(job.optimizer, job.parameters):
        part_tensors, plain = take_state(optimizer, parameters)
        tensors |= part_tensors
        numbers.append(plain)
    return tensors, {"class": _optimizer_class(job), "parts": numbers}


def _put_optimizer(job: Job, tensors: Tensors, plain: Plain) -> None:
    made = named_optimizers(job.optimizer, job.parameters)
    numbers: list[Numbers] = plain["parts"]
    groups = [len(optimizer.param_groups) for optimizer, _ in made]
    if plain["class"] != _optimizer_class(job) or groups != [len(part["groups"]) for part in numbers]:
        raise UnfitError("optimizer")
    owned = group_by_owner(tensors)
    for (optimizer, parameters), part in zip(made, numbers, strict=True):
        put_state(optimizer, parameters, owned, part, job.device)


def _optimizer_class(job: Job) -> str:
    return type(named_optimizers(job.optimizer, job.parameters)[0][0]).__name__


def _take_loss_scale(job: Job) -> tuple[Tensors, Plain]:
    return {}, [job.loss_scale.value, job.loss_scale.good]


def _put_loss_scale(job: Job, tensors: Tensors, plain: Plain) -> None:
    job.loss_scale.value, job.loss_scale.good = plain


def _take_sampling(job: Job) -> tuple[Tensors, Plain]:
    sampler = job.draws.sampler
    if sampler.memory is None:
        return {}, None
    tables = {"total": sampler.memory.total, "seen": sampler.memory.seen}
    return {name: torch.from_numpy(table.copy()) for name, table in tables.items()}, {"step": sampler.steps}


def _put_sampling(job: Job, tensors: Tensors, plain: Plain) -> None:
    sampler = job.draws.sampler
    tables = {} if sampler.memory is None else {"total": sampler.memory.total, "seen": sampler.memory.seen}
    _refuse_other_shapes(
        "sampling of timesteps", tensors, {name: torch.from_numpy(table) for name, table in tables.items()}
    )
    if sampler.memory is not None:
        sampler.restore(plain["step"], tensors["total"].numpy(), tensors["seen"].numpy())


def _refuse_other_shapes(label: str, tensors: Tensors, expected: Tensors) -> None:
    if {name: t.shape for name, t in tensors.items()} != {name: t.shape for name, t in expected.items()}:
        raise UnfitError(label)


# everything that a step changes has an entry here; tests/contract/test_state.py searches a job for what has none
PIECES: tuple[Piece, ...] = (
    Piece("weight", _take_weights, _put_weights),
    Piece("ema", _take_average, _put_average),
    Piece("optimizer", _take_optimizer, _put_optimizer),
    Piece("loss_scale", _take_loss_scale, _put_loss_scale),
    Piece("sampling", _take_sampling, _put_sampling),
)
