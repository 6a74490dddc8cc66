"""Checkpoints: all of a run's state that steps change, in one sealed safetensors file that is written atomically.

The pieces of state are listed in `snrlab.train.resume.state`: tensors are named `PIECE/NAME`, other values are JSON in
the metadata under the name of the piece.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import safetensors
import torch
from torch import Tensor

from snrlab.core.errors import UserError
from snrlab.models.storage.safetensors_file import damage, pending, write_tensors
from snrlab.progress import timed
from snrlab.train.job import Job
from snrlab.train.loop import FORK_ADVICE
from snrlab.train.resume.state import PIECES, UnfitError

logger = logging.getLogger(__name__)

KEEP = 2  # checkpoints that a run folder holds


class NotFiniteError(UserError):
    """Trained weights that are not finite and so are not saved."""

    def __init__(self, message: str) -> None:
        """Create it; the message names the weight and the way out."""
        super().__init__(message, code="not-finite")


def state(job: Job) -> dict[str, Tensor]:
    """Every tensor that a step changes, by name."""
    return {f"{piece.name}/{name}": t for piece in PIECES for name, t in piece.take(job)[0].items()}


def size(job: Job) -> int:
    """Bytes of the tensors of a checkpoint of the current state."""
    return sum(t.numel() * t.element_size() for t in state(job).values())


def save_checkpoint(job: Job, folder: Path, step: int) -> Path:
    """Write the state after `step` optimizer steps and delete all but the last two checkpoints.

    Raises:
        NotFiniteError: a weight is not finite; the earlier checkpoints stay.
        WriteError: the disk is full, or the folder cannot be written to; the earlier checkpoints stay.
    """
    for name, parameter in job.parameters.items():
        if not torch.isfinite(parameter.detach()).all():
            raise NotFiniteError(f"after step {step - 1} the weight {name} is not finite. {FORK_ADVICE}")
    folder.mkdir(exist_ok=True)
    path = checkpoint_file(folder, step)
    metadata = {"step": str(step)} | {piece.name: json.dumps(piece.take(job)[1]) for piece in PIECES}
    with timed(logger, f"wrote {path}"):
        write_tensors(path, pending(state(job)), metadata, sealed=True)
    for old in _superseded(folder, path):
        old.unlink(missing_ok=True)
    return path


def checkpoint_file(folder: Path, step: int) -> Path:
    """The file of the checkpoint after `step` steps."""
    return folder / f"step-{step:08d}.safetensors"


def step_of(path: Path) -> int:
    """The number of steps after which a checkpoint was taken."""
    return int(path.stem.removeprefix("step-"))


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoint files, oldest first; files that are still being written have another name."""
    return sorted(folder.glob("step-*.safetensors"))


def newest(folder: Path) -> Path | None:
    """The newest intact checkpoint, with a warning for each damaged one that is skipped; None if there are none.

    Raises:
        UserError: there are checkpoints, and none is intact.
    """
    files = checkpoints(folder)
    for path in reversed(files):
        defect = damage(path)
        if defect is None:
            return path
        logger.warning(f"checkpoint {path.name} is skipped: {defect}.")
    if files:
        raise UserError(f"{folder}: no checkpoint is intact. Train again under another name.", code="no-checkpoint")
    return None


def restore(job: Job, folder: Path) -> int:
    """Load the newest intact checkpoint into the job; the number of steps done, 0 without a checkpoint.

    Raises:
        UserError: a checkpoint of another run, or checkpoints of which none is intact.
    """
    path = newest(folder)
    if path is None:
        return 0
    with safetensors.safe_open(str(path), framework="pt") as file:
        metadata = file.metadata()
        for piece in PIECES:
            prefix = f"{piece.name}/"
            # the file is mapped, not read: each piece copies what it needs, so nothing is in memory twice
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118  # it is no dict
            own_tensors = {name.removeprefix(prefix): file.get_tensor(name) for name in names}
            if piece.name not in metadata:
                raise UserError(
                    f"{path}: this checkpoint was written by another version: it has no {piece.name}.",
                    code="checkpoint-mismatch",
                )
            try:
                piece.put(job, own_tensors, json.loads(metadata[piece.name]))
            except UnfitError as error:
                raise UserError(
                    f"{path}: this checkpoint belongs to a run with another {error}.", code="checkpoint-mismatch"
                ) from None
    logger.debug(f"restored {path}")
    return int(metadata["step"])


def _superseded(folder: Path, newest: Path) -> list[Path]:
    """Checkpoints to delete once `newest` is written: those too old, and later ones, which were damaged."""
    files = checkpoints(folder)
    index = files.index(newest)
    return [*files[: max(0, index + 1 - KEEP)], *files[index + 1 :]]
