"""Memory that a forward and backward pass needs, measured without doing it.

The pass runs on tensors that have a shape and no data, and every storage that an operation makes is counted while it
is alive: what autograd saves, what gradient checkpointing makes again, copies in another number format, passing
results. Operations choose what they would on a CPU, whose fused attention keeps what a GPU's does. What a GPU's
convolution takes as workspace is not in it, nor is what its allocator cannot use.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Counter(TorchDispatchMode):
    """Within it, bytes of the storages that operations make: alive now, and at most."""

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        """Leave these tensors out."""
        super().__init__()
        self.alive = self.peak = 0
        self._sizes = {tensor.untyped_storage()._cdata: 0 for tensor in known}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operation and count what it makes."""
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._sizes:
            return
        self._sizes[key] = storage.nbytes()
        self.alive += storage.nbytes()
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._freed, key)

    def _freed(self, key: int) -> None:
        self.alive -= self._sizes.pop(key, 0)


def without_data(network: nn.Module, mode: FakeTensorMode) -> nn.Module:
    """The same network with weights that have no data; gradients are freed as soon as they are there."""
    known: dict[int, Tensor] = {}
    for tensor in (*network.parameters(), *network.buffers()):
        empty = like(tensor, mode)
        known[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
    made = copy.deepcopy(network, known)
    for parameter in made.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(_free)
    return made


def like(tensor: Tensor, mode: FakeTensorMode) -> Tensor:
    """A tensor of the same shape and number format without data."""
    with mode:
        return torch.empty(tensor.shape, dtype=tensor.dtype)


def peak(mode: FakeTensorMode, networks: Iterable[nn.Module], loss: Callable[[], Tensor]) -> int:
    """Bytes that computing `loss` and its gradient takes beyond these networks' weights, at most."""
    weights = [tensor for network in networks for tensor in (*network.parameters(), *network.buffers())]
    with mode, Counter(weights) as counter:
        loss().backward()
    return counter.peak


def _free(parameter: Tensor) -> None:
    parameter.grad = None
