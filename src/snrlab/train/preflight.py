"""All that a run will need, tried before its first step: a pass forward and backward, the result's file, disk, time.

Nothing that the run computes is changed by it: no weight, no random number, no optimizer state, no file.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from snrlab.config import RunConfig
from snrlab.core.errors import UserError
from snrlab.models.source import DTYPES
from snrlab.train.checkpoint import KEEP
from snrlab.train.export import export
from snrlab.train.job import Job
from snrlab.train.loop import one_pass
from snrlab.train.remarks import remarks
from snrlab.train.rhythm import turns
from snrlab.train.run_folder import RunFolder
from snrlab.train.trackers import refuse_missing

TRIED = 2**20  # bytes of the largest tensor of a whole model that is written in a trial
PATIENCE = 10  # seconds after which a pass is not measured a second time
SPARE = 256 * 2**20  # bytes of disk left free for logs, pictures and the report


@dataclass(frozen=True)
class Rehearsal:
    """What the rehearsal of a run measured.

    Attributes:
        seconds: of one pass forward and backward.
        result: bytes of the result.
        memory: most bytes allocated on the graphics card, or None without one.
    """

    seconds: float
    result: int
    memory: int | None


def refuse_early(config: RunConfig, folder: RunFolder) -> None:
    """What can be known to be wrong before anything is loaded.

    Raises:
        UserError: a tracker that is not installed, or a run folder among the images.
    """
    refuse_missing(config)
    images = Path(config.data.folder).resolve() if config.data.folder else None
    where = folder.path.resolve()
    if images is not None and (where == images or images in where.parents):
        raise UserError(
            f"--out: the run folder {folder.path} would lie inside the image folder {images.name}, and the pictures in "
            "it would be trained on the next time. Choose an --out outside of it."
        )


def preflight(job: Job, folder: RunFolder) -> list[str]:
    """Rehearse the run and say in a few lines what it will take.

    Raises:
        UserError: the first batch has no finite loss, the result cannot be written and read back, or the disk is
            too small for what the run will write.
    """
    with _made(folder.path.parent) as out:
        rehearsal = Rehearsal(_one_pass(job), _trial_result(job, out), _peak_memory(job))
        _refuse_full_disk(job, out, rehearsal)
    return [*map(str, remarks(job)), *summary(job, rehearsal)]


def summary(job: Job, rehearsal: Rehearsal) -> list[str]:
    """Steps and passes, what is trained, time and memory: a line each."""
    train, entries, images = job.config.train, len(job.conditions), len(job.conditions.names)
    shown = f"{images} images" + (f", {entries} with their repeats," if entries != images else "")
    trained = sum(p.numel() for p in job.parameters.values())
    whole = sum(p.numel() for network in job.components.networks.values() for p in network.parameters())
    seconds = rehearsal.seconds * train.gradient_accumulation * train.steps
    memory = f", {rehearsal.memory / 2**30:.1f} GB on the graphics card" if rehearsal.memory else ""
    return [
        f"model {job.components.label} ({job.components.family}), trained to predict {job.recipe.prediction_type}",
        f"{shown} / (batch {train.batch_size} x {train.gradient_accumulation} accumulated x 1 device) = "
        f"{entries / job.total:.4g} steps a pass; {train.steps} steps = {train.steps * job.total / entries:.3g} passes",
        f"training {_count(trained)} of {_count(whole)} weights; the result has {_size(rehearsal.result)}",
        f"about {duration(seconds)} for the steps alone ({rehearsal.seconds:.2g} s for a pass forward and backward)"
        + memory,
    ]


def duration(seconds: float) -> str:
    """Roughly how long, in words.

    >>> duration(50), duration(14 * 60), duration(5000), duration(3 * 86400)
    ('1 min', '14 min', '1 h 20 min', '72 h')
    """
    minutes = max(1, round(seconds / 60))
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h" + (f" {minutes // 5 % 12 * 5} min" if minutes < 600 and minutes // 5 % 12 else "")


def _one_pass(job: Job) -> float:
    """Seconds of a pass over the first batch of step 0; gradients are dropped and random states put back."""
    seconds = 0.0
    with torch.random.fork_rng(devices=[job.device] if job.device.type == "cuda" else []):
        for _ in range(2):  # the first also prepares kernels
            if seconds > PATIENCE:
                break
            began = time.monotonic()
            value = float(one_pass(job, 0, 0, job.loss_scale.value).loss.mean())  # waits for the card
            job.optimizer.zero_grad()
            seconds = time.monotonic() - began
    if not np.isfinite(value):
        raise UserError(
            f"the loss of the first batch is {value}: the model does not work in model.precision = "
            f'"{job.config.model.precision}", or its weights are broken.'
        )
    return seconds


def _peak_memory(job: Job) -> int | None:
    return torch.cuda.max_memory_allocated(job.device) if job.device.type == "cuda" else None


def _trial_result(job: Job, out: Path) -> int:
    """Write the result as it is now under a temporary name, read it back, delete it; its size in bytes."""
    try:
        with tempfile.TemporaryDirectory(prefix=".snrlab-", dir=out) as name:
            path = Path(name) / RunFolder(Path(name)).result(job.config).name
            export(job, path, 0, largest=TRIED)
            files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]
            for file in files:
                _read_back(file)
            written = sum(file.stat().st_size for file in files)
    except OSError as reason:
        raise UserError(f"{out} cannot be written ({reason.strerror or reason}). Choose another --out.") from None
    if job.config.train.method == "lora":
        return written
    dtype = DTYPES[job.config.output.precision]
    for name, parameter in job.parameters.items():  # those that were too large for a trial
        _refuse_not_finite([] if torch.isfinite(parameter.detach().to(dtype)).all() else [name])
    return dtype.itemsize * sum(p.numel() for n in job.components.networks.values() for p in n.parameters())


def _read_back(file: Path) -> None:
    if file.suffix != ".safetensors":
        return
    try:
        with safe_open(str(file), framework="pt") as opened:
            names = list(opened.keys())
            bad = [name for name in names if not torch.isfinite(opened.get_tensor(name)).all()]
    except SafetensorError as reason:
        raise UserError(f"a trial of the result, {file.name}, cannot be read back ({reason}).") from None
    if not names:
        raise UserError(f"a trial of the result, {file.name}, is empty.")
    _refuse_not_finite(bad)


def _refuse_not_finite(names: list[str]) -> None:
    if names:
        raise UserError(
            f"in a trial of the result {names[0]} holds what is not a number: the weights do not fit output.precision. "
            'Choose "bf16" or "fp32".'
        )


def _refuse_full_disk(job: Job, out: Path, rehearsal: Rehearsal) -> None:
    """Compare what the run will write with the room there is."""
    trained = sum(p.numel() for p in job.parameters.values())
    state = 4 * trained * (3 + (job.ema is not None))  # weights, two moments and the average, in fp32
    kept = turns(job.config.output, job)
    if job.config.output.keep_last is not None:
        kept = min(kept, job.config.output.keep_last + 1)
    needed = state * (KEEP + 1) + rehearsal.result * (kept + 1) + SPARE
    free = shutil.disk_usage(out).free
    if free < needed:
        raise UserError(
            f"{out} has {_size(free)} free, and the run would write {_size(needed)}: checkpoints of {_size(state)} and "
            f"{kept + 1} results of {_size(rehearsal.result)}. Make room, choose another --out, or save less often "
            "(output.every, output.keep_last)."
        )


@contextmanager
def _made(folder: Path) -> Iterator[Path]:
    """The folder, made for a while where it is not there."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as reason:
        raise UserError(f"{folder} cannot be written ({reason.strerror}). Choose another --out.") from None
    try:
        yield folder
    finally:
        for path in missing:
            path.rmdir()


def _count(number: int) -> str:
    """A number of weights in short.

    >>> _count(950), _count(1_234_567), _count(2_600_000_000)
    ('950', '1.2 M', '2.6 G')
    """
    for size, letter in ((10**9, " G"), (10**6, " M"), (10**3, " k")):
        if number >= size:
            return f"{number / size:.1f}{letter}"
    return str(number)


def _size(size: int) -> str:
    """Bytes in words.

    >>> _size(2 * 2**20), _size(3 * 2**30)
    ('2.0 MB', '3.0 GB')
    """
    return f"{size / 2**30:.1f} GB" if size >= 2**30 else f"{max(size / 2**20, 0.1):.1f} MB"
