"""Telemetry of steps: the log line and the progress display."""

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
    """The log line of a step: the optimised loss, and per slot the values it is made of.

    `loss` is the mean of `weight` x `mse`, times `correction` where timesteps are drawn from another distribution than
    the density; `drawn` is then the share of that distribution in each SNR band. `bands` holds the unweighted training
    loss by band, and `stage` the step at which the recipe's stage started. With `seconds` None nothing in the line
    depends on the clock.
    """
    t = step.timesteps.numpy()
    line: dict[str, Any] = {
        "step": step.index,
        "epoch": step.epoch,
        "loss": _nine_digits(step.loss),
        "lr": _nine_digits(step.learning_rate),
        "grad_norm": _nine_digits(step.grad_norm),
        "t": t.tolist(),
        "mse": [_nine_digits(v) for v in step.mse.tolist()],
        "weight": [_nine_digits(v) for v in step.weight.tolist()],
        **_learnt_fields(step, tables),
        "bands": {
            k: None if v is None else _nine_digits(v) for k, v in band_means(tables.snr[t], step.mse.numpy()).items()
        },
    }
    if seconds is not None:
        line |= {"seconds": round(seconds, 4), "memory_mb": memory_mb()}
    return cast("StepLine", line)


def _learnt_fields(step: Step, tables: Tables) -> dict[str, Any]:
    """Fields of a recipe with stages or with a learnt sampling of timesteps; empty for others."""
    line: dict[str, Any] = {"stage": step.stage} if step.stage else {}
    if step.correction is not None:
        line["correction"] = [_nine_digits(v) for v in step.correction.tolist()]
    if step.drawn is not None:
        bands = band_of(tables.snr)
        line["drawn"] = {name: _nine_digits(float(step.drawn[bands == i].sum())) for i, name in enumerate(BANDS)}
    return line


def memory_mb() -> int:
    """Resident memory of this process, in MiB."""
    return int(_process(os.getpid()).memory_info().rss // 2**20)


@cache
def _process(pid: int) -> psutil.Process:
    return psutil.Process(pid)


class Display:
    """Progress display with loss, speed and time left: a bar in a terminal, plain lines elsewhere."""

    def __init__(self, total: int, done: int, every: float = 10.0) -> None:
        """Show `total` steps of which `done` are done; a plain line is logged at most every `every` seconds."""
        self._every, self._total, self._start = every, total, done
        self._start_time = self._last = time.monotonic()
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
        """Show a step."""
        self._loss = step.loss if self._loss is None else 0.95 * self._loss + 0.05 * step.loss
        done, now = step.index + 1, time.monotonic()
        steps_per_second = (done - self._start) / max(now - self._start_time, 1e-9)
        self._facts = f"loss {self._loss:.4f}  lr {step.learning_rate:.1e}  {steps_per_second:.2f} it/s"
        if self._bar is not None:
            with suppress(OSError):  # the terminal has been closed
                self._bar.update(self._task, completed=done, facts=self._facts)
        elif now - self._last >= self._every or done == self._total:
            self._last = now
            logger.info(
                f"step {done}/{self._total}  {self._facts}  {_clock((self._total - done) / steps_per_second)} left"
            )

    @contextmanager
    def between_steps(self) -> Iterator[None]:
        """Context in which the bar shows work between two steps instead of the values of the last step."""
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


def _nine_digits(value: float) -> float:
    """The value to nine digits, which represent a float32 exactly."""
    return float(f"{value:.9g}")
