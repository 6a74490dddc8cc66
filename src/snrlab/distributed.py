"""Processes that train one run together, one for each device: collectives, errors that end them all, and the main one.

Each process computes its own slots of one global batch, so that together they do what one process would do alone. All
communication between them goes through this module. Only the main process, rank 0, writes files and log lines.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from snrlab.core.errors import UserError, first_line

COLLECTIVE_TIMEOUT = timedelta(minutes=30)  # the main process may draw pictures or write a model meanwhile
BUCKET_ELEMENTS = 2**24  # elements that one all-reduce sums
FAILURE_EXIT_CODE = 2  # exit code after an error that the user can mend

_T = TypeVar("_T")


class LostProcessError(UserError):
    """Another process of the run has ended, so this one cannot continue."""

    def __init__(self, message: str) -> None:
        """With the message for the user."""
        super().__init__(message, code="lost-process")


@dataclass(frozen=True)
class Processes:
    """This process among the processes of a run, and the operations that involve all of them.

    Attributes:
        rank: number of this process, from 0.
        count: number of processes.
        device: the device that this process trains on.

    With a single process the operations return at once.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")  # noqa: RUF009

    @property
    def main(self) -> bool:
        """Whether this is the process that writes files and log lines."""
        return self.rank == 0

    def slots(self, micro: int, accumulation: int, batch: int) -> NDArray[np.int64]:
        """The slots of the global batch that this process computes in its forward pass `micro`, shape [batch]."""
        first = (self.rank * accumulation + micro) * batch
        return np.arange(first, first + batch)

    def mine(self, items: Sequence[_T]) -> list[_T]:
        """This process's share of a list; the shares of all processes make up the whole list."""
        return list(items[self.rank :: self.count])

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors in place by their sums over the processes, which are bit-identical on all of them."""
        if self.count == 1:
            return
        for bucket in _buckets(tensors):
            wide = torch.float64 if bucket[0].dtype == torch.float64 else torch.float32
            flat = torch.cat([t.reshape(-1).to(self.device, wide) for t in bucket])
            with _lost_process_errors():
                dist.all_reduce(flat)
            for tensor, total in zip(bucket, flat.split([t.numel() for t in bucket]), strict=True):
                tensor.copy_(total.view_as(tensor))

    def gather(self, columns: Tensor) -> Tensor:
        """The columns [k, n] of all processes side by side, in the order of ranks: [k, n x count]."""
        if self.count == 1:
            return columns
        parts = [torch.empty_like(columns) for _ in range(self.count)]
        with _lost_process_errors():
            dist.all_gather(parts, columns.contiguous())
        return torch.cat(parts, dim=1)

    def gather_objects(self, value: _T) -> list[_T]:
        """The values of all processes, in the order of ranks."""
        if self.count == 1:
            return [value]
        values: list[_T | None] = [None] * self.count
        with _lost_process_errors():
            dist.all_gather_object(values, value)
        return values  # type: ignore[return-value]  # all are filled in now

    def any(self, flag: bool) -> bool:
        """Whether the flag is true in at least one process."""
        if self.count == 1:
            return flag
        maximum = torch.tensor(int(flag), device=self.device)
        with _lost_process_errors():
            dist.all_reduce(maximum, dist.ReduceOp.MAX)
        return bool(maximum)

    def all_or_none(self, make: Callable[[], _T]) -> _T:
        """The result of `make` in this process, provided that it succeeds in all; otherwise all of them end.

        `make` must not communicate with the other processes.

        Raises:
            UserError: in the main process, the error of the lowest rank that failed; the others exit silently.
        """
        if self.count == 1:
            return make()
        try:
            value = make()
        except UserError as error:
            self.refuse(error)
            raise
        self.refuse(None)
        return value

    def refuse(self, error: UserError | None) -> None:
        """End all processes if one of them has an error: the main process raises the first (UserError)."""
        first = next((e for e in self.gather_objects(error) if e is not None), None)
        if first is not None:
            if self.main:
                raise first
            sys.exit(FAILURE_EXIT_CODE)

    def on_main(self, make: Callable[[], _T]) -> _T:
        """The result of `make`, called in the main process only and returned in all of them."""
        result = self.all_or_none(lambda: make() if self.main else None)
        return self.gather_objects(result)[0]  # type: ignore[return-value]  # the main process's

    def refuse_drift(self, tensors: Sequence[Tensor]) -> None:
        """Check that all processes have the same weights; otherwise end them (UserError in the main process)."""
        if self.count == 1:
            return
        sums = torch.stack([tensor.detach().double().sum() for tensor in tensors]).cpu()
        by_rank = self.gather_objects(sums.numpy().tobytes())
        if len(set(by_rank)) > 1:
            different = [rank for rank, sums_of_rank in enumerate(by_rank) if sums_of_rank != by_rank[0]]
            drift = UserError(
                f"the processes no longer have the same weights: rank {different[0]} differs from rank 0. Their "
                "devices compute differently, or one of them is broken; train on devices of one kind.",
                code="process-mismatch",
            )
            self.refuse(drift)

    def close(self) -> None:
        """Leave the process group, at the end of the run."""
        if self.count > 1:
            dist.destroy_process_group()


SINGLE = Processes()


def current_processes() -> Processes:
    """This process's place among those that a launcher started, from the environment; SINGLE without a launcher.

    Raises:
        UserError: the launcher started several processes, and they cannot reach each other.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return SINGLE
    from accelerate import PartialState

    try:
        state = PartialState(cpu=not torch.cuda.is_available(), timeout=COLLECTIVE_TIMEOUT)
    except (RuntimeError, ValueError) as reason:
        raise UserError(
            f"the processes of the run do not find each other: {first_line(reason)}", code="lost-process"
        ) from None
    return Processes(state.process_index, state.num_processes, state.device)


@contextmanager
def _lost_process_errors() -> Iterator[None]:
    """Turn the failure of a collective into LostProcessError."""
    try:
        yield
    except torch.cuda.OutOfMemoryError:
        raise
    except RuntimeError as reason:
        first = re.sub(r"\[[^]]*\]:?\d*", "", first_line(reason))  # without files and addresses
        raise LostProcessError(
            "another process of this run has ended, so this one ends too; what happened stands above, or in the output "
            f"of the other ({first.partition('. ')[0].strip()[:80]})."
        ) from None


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The tensors in their order, in groups of one dtype and at most BUCKET elements (a larger tensor is alone)."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and (
            sum(t.numel() for t in bucket) + tensor.numel() > BUCKET_ELEMENTS or tensor.dtype != bucket[0].dtype
        ):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket
