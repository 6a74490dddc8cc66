"""A pass forward and backward and a trial of the result: what most often goes wrong late, done early."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from snrlab.core.errors import UserError
from snrlab.files.writing import in_bytes
from snrlab.models.nonfinite import first_nonfinite_weight
from snrlab.models.storage.source import DTYPES
from snrlab.runs.folder import RunFolder
from snrlab.train.failure.error_messages import is_out_of_memory, memory_advice
from snrlab.train.job import Job
from snrlab.train.loop import one_pass
from snrlab.train.outputs.export import export_result
from snrlab.train.outputs.intervals import times_due
from snrlab.train.resume.checkpoint import KEEP

TRIED = 2**20  # bytes of the largest tensor of a whole model that is written in a trial
_PATIENCE = 10  # seconds after which a pass is not measured a second time
_SPARE = 256 * 2**20  # bytes of disk left free for logs, pictures and the report


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


def rehearse(job: Job, folder: RunFolder) -> Rehearsal:
    """Try a pass and the result's file, beside the run's folder.

    Raises:
        UserError: no finite loss, too little memory, a file that cannot be written and read back, too small a disk.
    """
    try:
        seconds = _pass(job)
    except (RuntimeError, MemoryError) as reason:
        if not is_out_of_memory(reason):
            raise
        where = "the graphics card" if isinstance(reason, torch.OutOfMemoryError) else "this machine"
        raise UserError(
            f"{where} has too little memory for a step. {memory_advice(job.config)}", code="out-of-memory"
        ) from None
    memory = torch.cuda.max_memory_allocated(job.device) if job.device.type == "cuda" else None
    found = Rehearsal(seconds, _trial_result(job, folder.path.parent), memory)
    _refuse_full_disk(job, folder, found.result)
    return found


def _pass(job: Job) -> float:
    """Seconds of a pass over the first batch of step 0; gradients are dropped and random states put back."""
    seconds = value = 0.0
    with torch.random.fork_rng(devices=[job.device] if job.device.type == "cuda" else []):
        for _ in range(2):  # the first also prepares kernels
            if seconds > _PATIENCE:
                break
            began = time.monotonic()
            # outside of a step no optimizer updates anything, not even one that works in the backward pass
            value = float(one_pass(job, 0, 0, job.loss_scale.value).loss.mean())  # waits for the card
            job.optimizer.zero_grad()
            seconds = time.monotonic() - began
    if not np.isfinite(value):
        broken = first_nonfinite_weight(job.components)
        why = (
            f"its weight {broken} holds what is not a number"
            if broken
            else f'the model does not work in model.precision = "{job.config.model.precision}"'
        )
        raise UserError(f"the loss of the first batch is {value}: {why}.", code="not-finite")
    return seconds


def _trial_result(job: Job, out: Path) -> int:
    """Write the result as it is now under a temporary name, read it back, delete it; its size in bytes."""
    try:
        with tempfile.TemporaryDirectory(prefix=".snrlab-", dir=out) as name:
            path = Path(name) / RunFolder(Path(name)).result(job.config).name
            export_result(job, path, 0, largest=TRIED)
            files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]
            for file in files:
                _read_back(file)
            written = sum(file.stat().st_size for file in files)
    except OSError as reason:
        raise UserError(
            f"{out} cannot be written ({reason.strerror or reason}). Choose another --out.", code="unwritable-file"
        ) from None
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
        raise UserError(
            f"a trial of the result, {file.name}, cannot be read back ({reason}).", code="unreadable-file"
        ) from None
    if not names:
        raise UserError(f"a trial of the result, {file.name}, is empty.", code="not-finite")
    _refuse_not_finite(bad)


def _refuse_not_finite(names: list[str]) -> None:
    if names:
        raise UserError(
            f"in a trial of the result {names[0]} holds what is not a number: the weights do not fit output.precision. "
            'Choose "bf16" or "fp32".',
            code="not-finite",
        )


def _refuse_full_disk(job: Job, folder: RunFolder, result: int) -> None:
    """Compare what the run will write, as far as it is not there already, with the room there is (UserError)."""
    trained = sum(p.numel() for p in job.parameters.values())
    state = 4 * trained * (3 + (job.ema is not None))  # weights, two moments and the average, in fp32
    kept = times_due(job.config.output, job)
    if job.config.output.keep_last is not None:
        kept = min(kept, job.config.output.keep_last + 1)
    there = sum(file.stat().st_size for file in folder.path.rglob("*") if file.is_file())
    needed = max(state * (KEEP + 1) + result * (kept + 1) - there, 0) + _SPARE
    out = folder.path.parent
    free = shutil.disk_usage(out).free
    if free < needed:
        raise UserError(
            f"{out} has {in_bytes(free)} free, and the run would write {in_bytes(needed)}: checkpoints of "
            f"{in_bytes(state)} and {kept + 1} results of {in_bytes(result)}. Make room, choose another --out, or save "
            "less often (output.every, output.keep_last).",
            code="disk-full",
        )
