"""Readers of steps: the log line and the progress display."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, cast

import numpy as np
import psutil
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from snrlab.core.bands import BANDS, band_means, band_of
from snrlab.core.recipe import Tables
from snrlab.runs.logs import StepLine
from snrlab.train.loop import Step

logger = logging.getLogger(__name__)


def record(step: Step, tables: Tables, seconds: float | None) -> StepLine:
    """The log line of a step: what was optimised, and per slot what it was made of.

    `loss` is the mean of `weight` x `mse`, times `correction` where timesteps are drawn from something else than the
    density; `drawn` is then how much of that lies in each SNR band. `bands` holds the unweighted training loss by band.
    `stage` is the step that the recipe changed at.
    With `seconds` None nothing in it depends on the clock.
    """
    t = step.timesteps.numpy()
    line: dict[str, Any] = {
        "step": step.index,
        "epoch": step.epoch,
        "loss": _short(step.loss),
        "lr": _short(step.learning_rate),
        "grad_norm": _short(step.grad_norm),
        "t": t.tolist(),
        "mse": [_short(v) for v in step.mse.tolist()],
        "weight": [_short(v) for v in step.weight.tolist()],
        **_learnt(step, tables),
        "bands": {k: None if v is None else _short(v) for k, v in band_means(tables.snr[t], step.mse.numpy()).items()},
    }
    if seconds is not None:
        line |= {"seconds": round(seconds, 4), "memory_mb": memory_mb()}
    return cast("StepLine", line)


def _learnt(step: Step, tables: Tables) -> dict[str, Any]:
    """Where the recipe is in its stages, and what it has learnt to draw from; nothing for one that does neither."""
    line: dict[str, Any] = {"stage": step.stage} if step.stage else {}
    if step.correction is not None:
        line["correction"] = [_short(v) for v in step.correction.tolist()]
    if step.drawn is not None:
        bands = band_of(tables.snr)
        line["drawn"] = {name: _short(float(step.drawn[bands == i].sum())) for i, name in enumerate(BANDS)}
    return line


def memory_mb() -> int:
    """Resident memory of this process, in MiB."""
    return int(_process(os.getpid()).memory_info().rss // 2**20)


@cache
def _process(pid: int) -> psutil.Process:
    return psutil.Process(pid)


class Display:
    """Progress with loss, rate and time left: a bar in a terminal, plain lines elsewhere."""

    def __init__(self, total: int, done: int, every: float = 10.0) -> None:
        """Show `total` steps of which `done` are done; a plain line is logged at most every `every` seconds."""
        self._every, self._total, self._start = every, total, done
        self._began = self._last = time.monotonic()
        self._loss: float | None = None
        self._facts = ""
        console = Console(stderr=True)
        self._bar: Progress | None = None
        if console.is_terminal and logger.isEnabledFor(logging.INFO):
            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[facts]}"), TimeRemainingColumn())
            self._bar = Progress(*columns, console=console)
            self._task = self._bar.add_task("steps", total=total, completed=done, facts="")
            self._bar.start()

    def update(self, step: Step) -> None:
        """Take note of a step."""
        self._loss = step.loss if self._loss is None else 0.95 * self._loss + 0.05 * step.loss
        done, now = step.index + 1, time.monotonic()
        rate = (done - self._start) / max(now - self._began, 1e-9)
        self._facts = f"loss {self._loss:.4f}  lr {step.learning_rate:.1e}  {rate:.2f} it/s"
        if self._bar is not None:
            with suppress(OSError):  # the terminal has been closed
                self._bar.update(self._task, completed=done, facts=self._facts)
        elif now - self._last >= self._every or done == self._total:
            self._last = now
            logger.info(f"step {done}/{self._total}  {self._facts}  {_clock((self._total - done) / rate)} left")

    @contextmanager
    def between_steps(self) -> Iterator[None]:
        """Within it the bar shows that work is being done between two steps, instead of the last step's figures."""
        self._show("measuring, drawing or saving ...")
        yield
        self._show(self._facts)

    def _show(self, facts: str) -> None:
        if self._bar is not None:
            with suppress(OSError):  # the terminal has been closed
                self._bar.update(self._task, facts=facts)

    def close(self) -> None:
        """End the display."""
        if self._bar is not None:
            with suppress(OSError):
                self._bar.stop()


def _clock(seconds: float) -> str:
    whole = int(np.ceil(seconds))
    return (
        f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
        if whole >= 3600
        else f"{whole // 60}:{whole % 60:02d}"
    )


def _short(value: float) -> float:
    """The value to nine digits, which is all a float32 has."""
    return float(f"{value:.9g}")
