"""Telemetry of steps: the log line and the progress display."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import numpy as np
import psutil
import torch
from rich.console import Console
from rich.text import Text

from snrlab.core.bands import BANDS, band_means, band_of
from snrlab.core.recipe import Tables
from snrlab.progress import LiveLine, format_rate
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
    """Progress of a run: step, loss, rate, memory and time left, in a live line of a terminal or in plain lines."""

    def __init__(self, total: int, done: int, every: float = 10.0) -> None:
        """Show `total` steps of which `done` are done; a plain line is logged at most every `every` seconds."""
        self._every, self._total, self._start, self._done = every, total, done, done
        self._start_time = self._last = self._step_began = time.monotonic()
        self._training_seconds = 0.0
        self._figures: Figures | None = None
        console = Console(stderr=True)
        self._line: LiveLine | None = None
        if console.is_terminal and logger.isEnabledFor(logging.INFO):
            self._line = LiveLine(console, self._render)
            self._line.start()

    def update(self, step: Step) -> None:
        """Show a step."""
        now = time.monotonic()
        self._done = step.index + 1
        self._training_seconds += now - self._step_began
        taken = self._done - self._start
        before = step.loss if self._figures is None else self._figures.loss
        self._figures = Figures(
            loss=0.95 * before + 0.05 * step.loss,
            learning_rate=step.learning_rate,
            steps_per_second=taken / max(self._training_seconds, 1e-9),
            memory=memory_in_use(),
            seconds_left=(self._total - self._done) * (now - self._start_time) / taken,
        )
        if self._line is not None:
            self._line.draw()
        elif now - self._last >= self._every or self._done == self._total:
            self._last = now
            logger.info(f"step {self._done}/{self._total}  {'  '.join(self._figures.texts())}")
        self._step_began = time.monotonic()

    @contextmanager
    def between_steps(self) -> Iterator[None]:
        """Context of work between two steps, whose seconds do not count towards the rate."""
        yield
        self._step_began = time.monotonic()
        if self._line is not None:
            self._line.draw(at_once=True)

    def close(self) -> None:
        """End the display."""
        if self._line is not None:
            self._line.stop()

    def _render(self) -> Text:
        """The live line, in the richest form that the terminal has room for."""
        line, count = self._line, f"{self._done}/{self._total}"
        if line is None:
            return Text(count)
        forms = [[f"{line.activity} ..."]] if line.activity else [["first step ..."]]
        if self._figures is not None and not line.activity:
            forms = [self._figures.texts(), self._figures.texts(rate=False)]
        texts, width = fitting(count, forms, line.console.width - 1)  # a full last column may begin a new line
        text = Text(f"{count}  ", no_wrap=True, overflow="crop")
        if width:
            text.append_text(_bar(self._done / self._total, width, line.console)).append("  ")
        return text.append(texts)


def fitting(count: str, forms: Sequence[Sequence[str]], room: int) -> tuple[str, int]:
    """The first of several forms that fits beside the count, and the width that is left for a bar; 0 is none."""
    for texts in forms:
        text = "  ".join(texts)
        width = room - len(count) - len(text) - 4
        if width >= _SHORTEST_BAR:
            return text, min(width, _LONGEST_BAR)
    text = "  ".join(forms[-1])
    return (text if len(count) + len(text) + 2 <= room else " ".join(forms[-1])), 0


_LONGEST_BAR, _SHORTEST_BAR = 30, 4  # columns


def _bar(share: float, width: int, console: Console) -> Text:
    """A bar of `width` columns, filled to a share."""
    full = "\N{BOX DRAWINGS HEAVY HORIZONTAL}" if console.encoding.startswith("utf") else "#"
    rest = " " if console.color_system is None or console.no_color else full  # without colours both look the same
    filled = round(share * width)
    return Text.assemble((full * filled, "bar.complete"), (rest * (width - filled), "bar.back"))


@dataclass(frozen=True)
class Figures:
    """What the display shows of a run: a smoothed loss, the rate, the memory in use and the seconds left."""

    loss: float
    learning_rate: float
    steps_per_second: float
    memory: str
    seconds_left: float

    def texts(self, *, rate: bool = True) -> list[str]:
        """The figures as short texts.

        >>> Figures(0.25, 1e-4, 3.214, "RAM 646 MB", 62).texts()
        ['loss 0.2500', 'lr 1.0e-04', '3.21 it/s', 'RAM 646 MB', '1:02 left']
        """
        learning_rate = [f"lr {self.learning_rate:.1e}"] if rate else []
        speed = f"{format_rate(self.steps_per_second)} it/s"
        return [f"loss {self.loss:.4f}", *learning_rate, speed, self.memory, f"{_clock(self.seconds_left)} left"]


def memory_in_use() -> str:
    """The memory that training uses now, of the graphics card where there is one."""
    on_card = torch.cuda.is_available() and torch.cuda.is_initialized()
    size = torch.cuda.memory_reserved() // 2**20 if on_card else memory_mb()
    return f"{'GPU' if on_card else 'RAM'} {f'{size / 1024:.1f} GB' if size >= 1024 else f'{size} MB'}"


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
