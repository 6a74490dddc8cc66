"""The optimizer of a run: one over all weights, or one for each weight where they are updated one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from snrlab.config.sections.train import TrainConfig
from snrlab.core.errors import UserError
from snrlab.distributed import SINGLE, Processes
from snrlab.train.optim.properties import refuse_missing_optimizer
from snrlab.train.optim.rounding import generator, stochastic_bf16
from snrlab.train.optim.trainable import Trainable

Make = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]


class OneByOne:
    """An optimizer for each weight, so that weights can be updated one after the other.

    With `in_backward` a weight is updated as soon as its gradient is computed, and the gradient is freed; outside a
    step, which lasts from `begin` to `step`, the gradient is only freed. A weight in bf16 is updated in fp32 and
    rounded back stochastically; its optimizer holds a stand-in that takes memory only during the update.
    """

    def __init__(
        self, make: Make, trained: Trainable, *, seed: int, in_backward: bool, processes: Processes = SINGLE
    ) -> None:
        """Make an optimizer for each weight with `make`, which takes parameter groups."""
        self._parameters, self._seed, self.in_backward = trained.parameters, seed, in_backward
        self._processes = processes
        self._norms: dict[int, Tensor] = {}
        self._step: int | None = None
        self.stand_ins: dict[str, nn.Parameter] = {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        for index, (name, parameter) in enumerate(trained.parameters.items()):
            rate = trained.rates[name]
            half = parameter.dtype == torch.bfloat16
            stand_in = nn.Parameter(parameter.new_empty(0, dtype=torch.float32)) if half else parameter
            self.stand_ins[name] = stand_in
            self.optimizers[name] = make([{"params": [stand_in], "lr": rate, "rate": rate}])
            if in_backward:
                parameter.register_post_accumulate_grad_hook(partial(self._use_gradient, index, name))

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The parameter groups of all optimizers."""
        return [group for optimizer in self.optimizers.values() for group in optimizer.param_groups]

    def begin(self, step: int) -> None:
        """Begin a step; the stochastic rounding depends on its number."""
        self._step = step
        self._norms.clear()

    def step(self) -> None:
        """End a step: update every weight that still has a gradient; with `in_backward` none has."""
        for index, name in enumerate(self.optimizers):
            if self._parameters[name].grad is not None:
                self._update(index, name)
        self._step = None

    def zero_grad(self) -> None:
        """Free the gradients."""
        for parameter in self._parameters.values():
            parameter.grad = None

    def norm(self) -> Tensor:
        """The norm of all gradients of the step, from the norms taken when each was used."""
        return torch.linalg.vector_norm(torch.stack([self._norms[index] for index in sorted(self._norms)]))

    def _use_gradient(self, index: int, name: str, parameter: Tensor) -> None:
        if self._step is not None and parameter.grad is not None:
            self._processes.sum_([parameter.grad])  # every process visits the weights in the same order
            self._update(index, name)
        parameter.grad = None

    @torch.no_grad()
    def _update(self, index: int, name: str) -> None:
        parameter, stand_in = self._parameters[name], self.stand_ins[name]
        assert parameter.grad is not None
        assert self._step is not None
        self._norms[index] = torch.linalg.vector_norm(parameter.grad, dtype=torch.float32)
        if stand_in is parameter:
            self.optimizers[name].step()
        else:
            stand_in.data = parameter.float()
            stand_in.grad = parameter.grad.float()
            self.optimizers[name].step()
            rng = generator(self._seed, self._step, index, parameter.device)
            parameter.copy_(stochastic_bf16(stand_in.data, rng))
            stand_in.data, stand_in.grad = stand_in.new_empty(0), None
        parameter.grad = None


RunOptimizer: TypeAlias = "torch.optim.Optimizer | OneByOne"


def make_optimizer(
    train: TrainConfig, trained: Trainable, seed: int = 0, processes: Processes = SINGLE
) -> RunOptimizer:
    """Make the optimizer over these weights, with a group for each learning rate, kept in the group as `rate`.

    Raises:
        UserError: its package is missing, it needs a GPU, or it supports one rate and the weights have several.
    """
    choice = train.optimizer
    refuse_missing_optimizer(choice.name)
    rates = sorted(set(trained.rates.values()))
    if choice.entry.properties.one_rate and len(rates) > 1:
        shown = ", ".join(f"{rate:g}" for rate in rates)
        raise UserError(
            f"train.optimizer: {choice.name} finds one rate for all weights, but there are several: {shown}.",
            code="conflicting-options",
        )
    if train.fused_backward or train.weights == "bf16":
        return OneByOne(choice, trained, seed=seed, in_backward=train.fused_backward, processes=processes)
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in trained.parameters.items():
        groups.setdefault(trained.rates[name], []).append(parameter)
    made: torch.optim.Optimizer = choice([{"params": ps, "lr": rate, "rate": rate} for rate, ps in groups.items()])
    switch(made, "train")
    return made


def begin_step(optimizer: RunOptimizer, step: int, factor: float) -> None:
    """Begin a step: set its learning rates and, where weights are updated one by one, its number."""
    set_rates(optimizer, factor)
    if isinstance(optimizer, OneByOne):
        optimizer.begin(step)


def set_rates(optimizer: RunOptimizer, factor: float) -> None:
    """Set the learning rate of every group to its `rate` times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["rate"] * factor


def switch(optimizer: RunOptimizer, mode: str) -> bool:
    """Call the optimizer's `train` or `eval`, if it averages weights and so has them; whether it has."""
    change = getattr(optimizer, mode, None)
    if callable(change):
        change()
    return callable(change)


@contextmanager
def evaluating(optimizer: RunOptimizer, parameters: dict[str, nn.Parameter]) -> Iterator[None]:
    """Context in which the weights are those that an averaging optimizer evaluates with; then restored to the bit.

    Such an optimizer's own way back has rounding errors, so a copy of the weights is kept on the CPU.
    """
    if not callable(getattr(optimizer, "eval", None)):
        yield
        return
    saved = {name: parameter.detach().cpu().clone() for name, parameter in parameters.items()}
    switch(optimizer, "eval")
    try:
        yield
    finally:
        switch(optimizer, "train")
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(saved[name])


def named_optimizers(
    optimizer: RunOptimizer, parameters: dict[str, nn.Parameter]
) -> list[tuple[torch.optim.Optimizer, dict[str, nn.Parameter]]]:
    """The torch optimizers that it consists of, each with its weights by name, as a checkpoint stores them."""
    if isinstance(optimizer, OneByOne):
        return [(one, {name: optimizer.stand_ins[name]}) for name, one in optimizer.optimizers.items()]
    return [(optimizer, parameters)]
