"""Rehearsal of a run: one forward and backward pass and a trial of writing the result, before the first step."""

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
from snrlab.files.writing import format_bytes
from snrlab.models.nonfinite import first_nonfinite_weight
from snrlab.models.storage.source import DTYPES
from snrlab.runs.folder import RunFolder
from snrlab.train.failure.error_messages import is_out_of_memory, memory_advice
from snrlab.train.job import Job
from snrlab.train.loop import one_pass
from snrlab.train.outputs.export import export_result
from snrlab.train.outputs.intervals import times_due
from snrlab.train.resume.checkpoint import KEEP

TRIAL_TENSOR_BYTES = 2**20  # larger tensors of a whole model are not written in a trial
_LONG_PASS = 10  # seconds; a pass that takes longer is not measured a second time
_SPARE = 256 * 2**20  # bytes of disk left free for logs, pictures and the report


@dataclass(frozen=True)
class Rehearsal:
    """Measurements of a rehearsal.

    Attributes:
        seconds: of one pass forward and backward.
        result: bytes of the result.
        memory: peak of the bytes allocated on the graphics card, or None without one.
    """

    seconds: float
    result: int
    memory: int | None


def rehearse(job: Job, folder: RunFolder) -> Rehearsal:
    """Try one pass, and write the result next to the run folder.

    Raises:
        UserError: a loss that is not finite, too little memory, a result that cannot be written and read back, or too
            little room on the disk.
    """
    try:
        seconds = _time_pass(job)
    except (RuntimeError, MemoryError) as reason:
        if not is_out_of_memory(reason):
            raise
        device = "the graphics card" if isinstance(reason, torch.OutOfMemoryError) else "this machine"
        raise UserError(
            f"{device} has too little memory for a step. {memory_advice(job.config)}", code="out-of-memory"
        ) from None
    memory = torch.cuda.max_memory_allocated(job.device) if job.device.type == "cuda" else None
    rehearsal = Rehearsal(seconds, _try_result(job, folder.path.parent), memory)
    _refuse_full_disk(job, folder, rehearsal.result)
    return rehearsal


def _time_pass(job: Job) -> float:
    """Time a pass over the first batch of step 0; gradients are dropped and random states restored."""
    seconds = loss = 0.0
    with torch.random.fork_rng(devices=[job.device] if job.device.type == "cuda" else []):
        for _ in range(2):  # the first also compiles and loads kernels
            if seconds > _LONG_PASS:
                break
            start = time.monotonic()
            # outside a step no optimizer updates weights, not even one that does so in the backward pass
            loss = float(one_pass(job, 0, 0, job.loss_scale.value).loss.mean())  # waits for the GPU
            job.optimizer.zero_grad()
            seconds = time.monotonic() - start
    if not np.isfinite(loss):
        bad_weight = first_nonfinite_weight(job.components)
        reason = (
            f"its weight {bad_weight} is not finite"
            if bad_weight
            else f'the model does not work in model.precision = "{job.config.model.precision}"'
        )
        raise UserError(f"the loss of the first batch is {loss}: {reason}.", code="not-finite")
    return seconds


def _try_result(job: Job, out: Path) -> int:
    """Write the result of the current weights to a temporary file, read it back, delete it; its size in bytes."""
    try:
        with tempfile.TemporaryDirectory(prefix=".snrlab-", dir=out) as name:
            path = Path(name) / RunFolder(Path(name)).result(job.config).name
            export_result(job, path, 0, largest=TRIAL_TENSOR_BYTES)
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
    for name, parameter in job.parameters.items():  # tensors too large for the trial are checked in memory
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
            f"in a trial of the result {names[0]} is not finite: the weights do not fit output.precision. "
            'Choose "bf16" or "fp32".',
            code="not-finite",
        )


def _refuse_full_disk(job: Job, folder: RunFolder, result: int) -> None:
    """Refuse a disk with less room than the run will still write (UserError)."""
    trained = sum(p.numel() for p in job.parameters.values())
    state = 4 * trained * (3 + (job.ema is not None))  # weights, two moments and the average, in fp32
    kept = times_due(job.config.output, job)
    if job.config.output.keep_last is not None:
        kept = min(kept, job.config.output.keep_last + 1)
    present = sum(file.stat().st_size for file in folder.path.rglob("*") if file.is_file())
    needed = max(state * (KEEP + 1) + result * (kept + 1) - present, 0) + _SPARE
    out = folder.path.parent
    free = shutil.disk_usage(out).free
    if free < needed:
        raise UserError(
            f"{out} has {format_bytes(free)} free, and the run would write {format_bytes(needed)}: checkpoints of "
            f"{format_bytes(state)} and {kept + 1} results of {format_bytes(result)}. Make room, choose another --out, "
            "or save less often (output.every, output.keep_last).",
            code="disk-full",
        )
