"""What goes wrong on a machine, in words: memory, disk, card. What has no words here is a bug of ours."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError

from snrlab.config import RunConfig
from snrlab.core.errors import UserError, first_line
from snrlab.files.writing import FORBIDDEN, FULL, write_error
from snrlab.runs.folder import RunFolder
from snrlab.train.failure.bug_report import as_bug
from snrlab.train.resume import checkpoint

CHANGEABLE = (
    "Batch size with accumulation in its place, gradient_checkpointing, vae_batch_size and all of [sample] may change "
    "with --resume; what else may not needs --fork NAME."
)


@contextmanager
def translate_errors(config: RunConfig, folder: RunFolder) -> Iterator[None]:
    """Within it whatever goes wrong comes out in words.

    Raises:
        UserError: it is the user's to mend, or the machine's.
        BugError: it is ours; what is known of it is in the run's folder, or here where that is not there yet.
    """
    try:
        yield
    except Exception as reason:
        meant = as_user_error(reason, config, folder)
        if meant is None:
            raise as_bug(reason, config, folder.path) from reason
        if meant is reason:
            raise
        raise meant from None


def as_user_error(reason: Exception, config: RunConfig, folder: RunFolder) -> UserError | None:
    """What an exception means where it is the user's or the machine's matter; None where it is a bug."""
    if isinstance(reason, UserError):
        return reason
    if is_out_of_memory(reason):
        where = "the graphics card has" if isinstance(reason, torch.OutOfMemoryError) else "this machine has"
        return UserError(f"{where} too little memory. {memory_advice(config)} {CHANGEABLE}", code="out-of-memory")
    system = _of_system(reason)
    if system is not None:
        if system.errno in (*FULL, *FORBIDDEN, errno.EFBIG):
            return write_error(_file(system, folder), system)
        return UserError(
            f"{_file(system, folder)} cannot be read or written: {system.strerror}.", code="unreadable-file"
        )
    if isinstance(reason, RuntimeError) and re.search(r"CUDA error|CUDNN|cuBLAS|NCCL", str(reason), re.IGNORECASE):
        return UserError(
            f"the graphics card failed ({first_line(reason)}). Often other programs on it, its driver or "
            "overclocking are at fault; restart the machine.",
            code="device-error",
        )
    return None


def is_out_of_memory(reason: BaseException) -> bool:
    """Whether there was no memory left, on a card or on the machine itself."""
    if isinstance(reason, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(reason)
    return isinstance(reason, RuntimeError) and ("can't allocate memory" in text or "not enough memory" in text)


def memory_advice(config: RunConfig) -> str:
    """What needs less memory and is not chosen yet, the gentlest first."""
    train, found = config.train, []
    if config.model.precision == "fp32":
        found.append('model.precision = "bf16"')
    if not train.gradient_checkpointing:
        found.append("train.gradient_checkpointing = true")
    if train.batch_size > 1:
        found.append("a smaller train.batch_size, with train.gradient_accumulation in its place")
    if train.method == "full" and not train.fused_backward:
        found.append('train.optimizer = "adafactor" with train.fused_backward = true and train.weights = "bf16"')
    return f"What needs less: {'; '.join([*found, 'a smaller data.resolution'])}."


def resume_hint(folder: RunFolder) -> str:
    """From where a run that stopped goes on, and how."""
    found = checkpoint.checkpoints(folder.checkpoints)
    if not found:
        return f"Nothing of {folder.path} had been saved yet: the same command with --resume starts it again."
    return (
        f"{folder.path} is saved up to step {checkpoint.step_of(found[-1])}: the same command with --resume goes on "
        "from there."
    )


def _of_system(reason: Exception) -> OSError | None:
    """The system's own error, which the library of weights passes on as text."""
    if isinstance(reason, OSError) and reason.errno is not None:
        return reason
    found = re.search(r"\(os error (\d+)\)", str(reason)) if isinstance(reason, SafetensorError) else None
    return OSError(int(found[1]), os.strerror(int(found[1]))) if found else None


def _file(reason: OSError, folder: RunFolder) -> Path:
    """The file it is about; the logs are written through handles that do not say theirs."""
    name = reason.filename
    return Path(os.fsdecode(name)) if isinstance(name, str | bytes) else folder.steps_file
