"""Error messages for failures of the machine: memory, disk, graphics card. Any other exception is a bug."""

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
from snrlab.files.writing import DISK_FULL_ERRNOS, FORBIDDEN_ERRNOS, write_error
from snrlab.runs.folder import RunFolder, resume_line
from snrlab.train.failure.bug_report import bug_error
from snrlab.train.resume import checkpoint

CHANGEABLE = (
    "train.batch_size with train.gradient_accumulation in its place, gradient_checkpointing, vae_batch_size and all of "
    "[sample] may change when a run is resumed; other changes need --fork NAME."
)


@contextmanager
def translate_errors(config: RunConfig, folder: RunFolder) -> Iterator[None]:
    """Context that turns every exception into an error with a message.

    Raises:
        UserError: the cause is the user's input or the machine.
        BugError: the cause is a bug; its report is in the run folder, or in the current folder if there is none yet.
    """
    try:
        yield
    except Exception as error:
        translated = as_user_error(error, config, folder)
        if translated is None:
            raise bug_error(error, config, folder.path) from error
        if translated is error:
            raise
        raise translated from None


def as_user_error(error: Exception, config: RunConfig, folder: RunFolder) -> UserError | None:
    """The error that an exception means to the user; None where it is a bug."""
    if isinstance(error, UserError):
        return error
    if is_out_of_memory(error):
        device = "the graphics card has" if isinstance(error, torch.OutOfMemoryError) else "this machine has"
        return UserError(f"{device} too little memory. {memory_advice(config)} {CHANGEABLE}", code="out-of-memory")
    system = _system_error(error)
    if system is not None:
        if system.errno in (*DISK_FULL_ERRNOS, *FORBIDDEN_ERRNOS, errno.EFBIG):
            return write_error(_file_of(system, folder), system)
        return UserError(
            f"{_file_of(system, folder)} cannot be read or written: {system.strerror}.", code="unreadable-file"
        )
    if isinstance(error, RuntimeError) and re.search(r"CUDA error|CUDNN|cuBLAS|NCCL", str(error), re.IGNORECASE):
        return UserError(
            f"the graphics card failed ({first_line(error)}). The cause is often another program on it, its driver "
            "or overclocking; restart the machine.",
            code="device-error",
        )
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on a graphics card or on the machine itself."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("can't allocate memory" in text or "not enough memory" in text)


def memory_advice(config: RunConfig) -> str:
    """Settings that would save memory and are not chosen yet, the one with the smallest cost first."""
    train, savings = config.train, []
    if config.model.precision == "fp32":
        savings.append('model.precision = "bf16"')
    if not train.gradient_checkpointing:
        savings.append("train.gradient_checkpointing = true")
    if train.batch_size > 1:
        savings.append("a smaller train.batch_size, with train.gradient_accumulation in its place")
    if train.method == "full" and not train.fused_backward:
        savings.append('train.optimizer = "adafactor" with train.fused_backward = true and train.weights = "bf16"')
    return f"To save memory: {'; '.join([*savings, 'a smaller data.resolution'])}."


def resume_hint(folder: RunFolder) -> str:
    """How a stopped run is resumed, and from which step."""
    files = checkpoint.checkpoints(folder.checkpoints)
    if not files:
        return f"Nothing had been saved in {folder.path} yet. To start again:\n  {resume_line(folder)}"
    return f"{folder.path} is saved up to step {checkpoint.step_of(files[-1])}. {how_to_resume(folder)}"


def how_to_resume(folder: RunFolder) -> str:
    """The sentence that says how a run with a checkpoint goes on."""
    return f"To go on:\n  {resume_line(folder)}"


def _system_error(error: Exception) -> OSError | None:
    """The operating system's error, which safetensors passes on as text only."""
    if isinstance(error, OSError) and error.errno is not None:
        return error
    match = re.search(r"\(os error (\d+)\)", str(error)) if isinstance(error, SafetensorError) else None
    return OSError(int(match[1]), os.strerror(int(match[1]))) if match else None


def _file_of(error: OSError, folder: RunFolder) -> Path:
    """The file that an error is about; without a name it is a log, which is written through an open handle."""
    name = error.filename
    return Path(os.fsdecode(name)) if isinstance(name, str | bytes) else folder.steps_file
