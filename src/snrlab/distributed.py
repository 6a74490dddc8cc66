"""The processes that train one run together, one for each device: what they share, and who of them writes.

Each draws its own slots of one global batch, so that together they do what one process would. All that goes between
them goes through here. The main process, rank 0, is the only one that writes and speaks.
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

WAIT = timedelta(minutes=30)  # for the others at most: the main one may draw pictures or write a model meanwhile
BUCKET = 2**24  # numbers that are added up over the processes at once
FAILED = 2  # exit code of a user's mistake

_T = TypeVar("_T")


class LostProcessError(UserError):
    """Another process of the run is gone, so that this one cannot go on."""

    def __init__(self, message: str) -> None:
        """With what is known of it."""
        super().__init__(message, code="lost-process")


@dataclass(frozen=True)
class Processes:
    """One of the processes of a run, and what it does with the others; alone, nothing.

    Attributes:
        rank: which one it is, from 0.
        count: how many there are.
        device: where it trains.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")  # noqa: RUF009

    @property
    def main(self) -> bool:
        """Whether it is the one that writes and speaks."""
        return self.rank == 0

    def slots(self, micro: int, accumulation: int, batch: int) -> NDArray[np.int64]:
        """The slots of the global batch that it takes in one of its forward passes."""
        first = (self.rank * accumulation + micro) * batch
        return np.arange(first, first + batch)

    def mine(self, items: Sequence[_T]) -> list[_T]:
        """Its part of a list, of which every item is some process's."""
        return list(items[self.rank :: self.count])

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their sums over the processes, which are the same to the bit on each."""
        if self.count == 1:
            return
        for some in _buckets(tensors):
            wide = torch.float64 if some[0].dtype == torch.float64 else torch.float32
            flat = torch.cat([t.reshape(-1).to(self.device, wide) for t in some])
            with _together():
                dist.all_reduce(flat)
            for tensor, total in zip(some, flat.split([t.numel() for t in some]), strict=True):
                tensor.copy_(total.view_as(tensor))

    def gather(self, columns: Tensor) -> Tensor:
        """Columns [k, n] of each process side by side in the order of ranks: [k, n x count]."""
        if self.count == 1:
            return columns
        found = [torch.empty_like(columns) for _ in range(self.count)]
        with _together():
            dist.all_gather(found, columns.contiguous())
        return torch.cat(found, dim=1)

    def everyones(self, value: _T) -> list[_T]:
        """A value of each process, in the order of ranks."""
        if self.count == 1:
            return [value]
        found: list[_T | None] = [None] * self.count
        with _together():
            dist.all_gather_object(found, value)
        return found  # type: ignore[return-value]  # all are there now

    def any(self, flag: bool) -> bool:
        """Whether it is true for one of them."""
        if self.count == 1:
            return flag
        found = torch.tensor(int(flag), device=self.device)
        with _together():
            dist.all_reduce(found, dist.ReduceOp.MAX)
        return bool(found)

    def agreed(self, make: Callable[[], _T]) -> _T:
        """What this process makes, if every one of them can: a mistake is said once, and all end.

        `make` must not ask the other processes anything.

        Raises:
            UserError: in the main process, that of the first to fail; the others end without a word.
        """
        if self.count == 1:
            return make()
        try:
            value = make()
        except UserError as mistake:
            self.refuse(mistake)
            raise
        self.refuse(None)
        return value

    def refuse(self, wrong: UserError | None) -> None:
        """End all processes if one of them found something wrong, which the main one says (UserError)."""
        found = next((w for w in self.everyones(wrong) if w is not None), None)
        if found is not None:
            if self.main:
                raise found
            sys.exit(FAILED)

    def first(self, make: Callable[[], _T]) -> _T:
        """What the main process makes, in all of them; only it does anything."""
        made = self.agreed(lambda: make() if self.main else None)
        return self.everyones(made)[0]  # type: ignore[return-value]  # that of the main one

    def refuse_drift(self, tensors: Sequence[Tensor]) -> None:
        """Make sure that all processes have the same weights (UserError, which the main one says)."""
        if self.count == 1:
            return
        sums = torch.stack([tensor.detach().double().sum() for tensor in tensors]).cpu()
        everyones = self.everyones(sums.numpy().tobytes())
        if len(set(everyones)) > 1:
            different = [rank for rank, own in enumerate(everyones) if own != everyones[0]]
            drift = UserError(
                f"the processes no longer have the same weights: rank {different[0]} differs from rank 0. Their "
                "devices compute differently, or one of them is broken; train on devices of one kind.",
                code="process-mismatch",
            )
            self.refuse(drift)

    def close(self) -> None:
        """Part from the others, at the end."""
        if self.count > 1:
            dist.destroy_process_group()


SINGLE = Processes()


def here() -> Processes:
    """The process that this one is, as whoever launched it says; alone without a launcher.

    Raises:
        UserError: a launcher that started several, which do not find each other.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return SINGLE
    from accelerate import PartialState

    try:
        state = PartialState(cpu=not torch.cuda.is_available(), timeout=WAIT)
    except (RuntimeError, ValueError) as reason:
        raise UserError(
            f"the processes of the run do not find each other: {first_line(reason)}", code="lost-process"
        ) from None
    return Processes(state.process_index, state.num_processes, state.device)


@contextmanager
def _together() -> Iterator[None]:
    """Say so where another process is gone."""
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
    """The tensors in their order, together as far as they are small."""
    some: list[Tensor] = []
    for tensor in tensors:
        if some and (sum(t.numel() for t in some) + tensor.numel() > BUCKET or tensor.dtype != some[0].dtype):
            yield some
            some = []
        some.append(tensor)
    if some:
        yield some
