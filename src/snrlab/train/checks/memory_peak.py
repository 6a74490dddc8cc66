"""Peak memory of a forward and backward pass, measured without computing it.

The pass runs on tensors that have a shape and no data, and every storage that an operation allocates is counted while
it is alive: what autograd saves, what gradient checkpointing recomputes, copies in another dtype, intermediate results.
Operations behave as on a CPU, whose fused attention keeps the same tensors as a GPU's. The workspace of a GPU's
convolutions is not counted, nor is memory that its allocator cannot use.
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
    """Context that counts the bytes of the storages that operations allocate: alive now, and at most."""

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        """Count from 0, without the `known` tensors."""
        super().__init__()
        self.alive = self.peak = 0
        self._sizes = {tensor.untyped_storage()._cdata: 0 for tensor in known}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operation and count the storages that it allocates."""
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return result

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
    """A copy of a network whose weights have no data; its gradients are freed as soon as they are computed."""
    known: dict[int, Tensor] = {}
    for tensor in (*network.parameters(), *network.buffers()):
        empty = like(tensor, mode)
        known[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
    twin = copy.deepcopy(network, known)
    for parameter in twin.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(_free)
    return twin


def like(tensor: Tensor, mode: FakeTensorMode) -> Tensor:
    """A tensor of the same shape and dtype without data."""
    with mode:
        return torch.empty(tensor.shape, dtype=tensor.dtype)


def peak(mode: FakeTensorMode, networks: Iterable[nn.Module], loss: Callable[[], Tensor]) -> int:
    """Peak bytes of computing `loss` and its gradient, in addition to these networks' weights."""
    weights = [tensor for network in networks for tensor in (*network.parameters(), *network.buffers())]
    with mode, Counter(weights) as counter:
        loss().backward()
    return counter.peak


def _free(parameter: Tensor) -> None:
    parameter.grad = None
