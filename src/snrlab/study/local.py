"""Trains cells as child processes on this machine, as many at once as fit."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ATTEMPTS = 2  # starts of a cell that fails; a run that was killed goes on from its last checkpoint
_POLL = 0.1  # seconds
_GRACE = 30.0  # seconds in which a child may save its checkpoint when the study is stopped


@dataclass(frozen=True)
class Task:
    """A cell to train.

    Attributes:
        name: of the cell.
        command: arguments of `snrlab`.
        log: file that what it prints is appended to.
    """

    name: str
    command: tuple[str, ...]
    log: Path


@dataclass
class _Child:
    task: Task
    process: subprocess.Popen[bytes]
    attempt: int
    slot: int


def run_tasks(
    tasks: Sequence[Task], *, workers: int, ended: Callable[[Task, bool], None], cards: Sequence[str] = ()
) -> None:
    """Run tasks, each at most twice, in their order.

    Args:
        tasks: what to run.
        workers: children at once; on processors each computes in one thread where there are several.
        ended: called when a task has ended, with whether it succeeded.
        cards: graphics cards, by the names that CUDA_VISIBLE_DEVICES takes; each child gets one.

    Raises:
        KeyboardInterrupt: the study was stopped; its children have saved and ended.
    """
    waiting = [(task, 1) for task in tasks]
    running: list[_Child] = []
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                task, attempt = waiting.pop(0)
                slot = next(i for i in range(workers) if all(child.slot != i for child in running))
                running.append(_start(task, attempt, slot, workers, cards))
            time.sleep(_POLL)
            for child in [child for child in running if child.process.poll() is not None]:
                running.remove(child)
                succeeded = child.process.returncode == 0
                if not succeeded and child.attempt < ATTEMPTS:
                    waiting.insert(0, (child.task, child.attempt + 1))
                else:
                    ended(child.task, succeeded)
    finally:
        _stop(child.process for child in running)


def _start(task: Task, attempt: int, slot: int, workers: int, cards: Sequence[str]) -> _Child:
    environment = dict(os.environ)
    if cards:
        environment["CUDA_VISIBLE_DEVICES"] = cards[slot % len(cards)]
    elif workers > 1:
        environment["OMP_NUM_THREADS"] = "1"
    task.log.parent.mkdir(parents=True, exist_ok=True)
    with task.log.open("ab") as log:
        # a session of its own: Ctrl-C reaches the study alone, which then stops its children in order
        process = subprocess.Popen(
            [sys.executable, "-m", "snrlab", *task.command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    return _Child(task, process, attempt, slot)


def _stop(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    """Let children save and end, and kill those that do not."""
    alive = [process for process in processes if process.poll() is None]
    for process in alive:
        process.terminate()
    deadline = time.monotonic() + _GRACE
    for process in alive:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
