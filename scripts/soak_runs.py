"""The runs that the soak kills, and how the moments are known at which it does."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snrlab.files.writing import TEMPORARY_SUFFIX

NAME = "soak"
RUN: dict[str, Any] = {
    "name": NAME,
    "model": {"shipped": "small"},
    "data": {"resolution": 64, "flip": True, "shuffle_tags": True, "caption_dropout": 0.1},
    "train": {"steps": 60, "batch_size": 2, "checkpoint_every": 3, "learning_rate": 1e-3, "warmup": 5},
    "sample": {"prompts": ["a cat", "a house"], "every": 9, "steps": 4},
    "validation": {"images": 2, "every": 10},
    "output": {"dates": False, "precision": "fp32", "every": 20, "model_card": False},
}


@dataclass(frozen=True)
class Kind:
    """A kind of run.

    Attributes:
        sections: what its run file says besides RUN.
        moments: those at which it may be killed, in the order in which they come.
        processes: that train it together.
    """

    sections: dict[str, dict[str, Any]]
    moments: tuple[str, ...] = ("loading", "step", "checkpoint", "sampling", "export")
    processes: int = 1


KINDS = {
    "lora": Kind({"train": {"ema": 0.9}, "lora": {"rank": 4}}),
    "full": Kind({"train": {"method": "full", "optimizer": "adamw", "checkpoint_every": 5}}),
    "cached": Kind(
        {"data": {"cache": True, "vae_batch_size": 4}},
        ("caching", "caching", "step", "checkpoint", "sampling", "export"),
    ),
    "two-processes": Kind({"train": {"ema": 0.9, "batch_size": 1}, "recipe": {"sampling": "importance"}}, processes=2),
    "v-prediction": Kind({"model": {"shipped": "small_v"}, "recipe": {"weighting": ["min_snr:gamma=5"]}}),
}


@dataclass(frozen=True)
class Place:
    """Where a run of a kind lives.

    Attributes:
        out: of the run; cache: its cache, where it has one.
    """

    out: Path
    cache: Path

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.out / NAME


def lines(log: Path) -> int:
    """Steps that a run has logged."""
    return log.read_bytes().count(b"\n") if log.exists() else 0


def unfinished(folder: Path, pattern: str = "*") -> bool:
    """Whether something is being written there."""
    return any(folder.glob(f"{pattern}{TEMPORARY_SUFFIX}"))


def moment(name: str, place: Place, rng: random.Random) -> Callable[[], bool]:
    """What says that the moment has come, of a process that starts now."""
    began, run = time.monotonic(), place.run
    if name == "loading":
        wait = rng.uniform(0.5, 6)
        return lambda: time.monotonic() - began > wait
    if name == "step":
        wanted, wait = lines(run / "steps.jsonl") + rng.randint(1, 8), rng.uniform(0, 0.1)
        reached: list[float] = []

        def after_some_steps() -> bool:
            if not reached and lines(run / "steps.jsonl") >= wanted:
                reached.append(time.monotonic())
            return bool(reached) and time.monotonic() - reached[0] > wait

        return after_some_steps
    places: dict[str, Callable[[], bool]] = {
        "caching": lambda: unfinished(place.cache),
        "checkpoint": lambda: unfinished(run / "checkpoints"),
        "sampling": lambda: unfinished(run / "samples", "**/*") or drawing(run / "samples"),
        "export": lambda: unfinished(run, f"{NAME}*"),
    }
    return places[name]


def drawing(samples: Path) -> bool:
    """Whether pictures are there whose grid is not."""
    return any(f.is_dir() and not f.with_suffix(".png").exists() for f in samples.glob("step-*"))
