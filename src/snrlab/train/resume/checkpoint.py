"""Checkpoints: the whole changing state of a run in one sealed safetensors file, written atomically.

What it holds is the list in `snrlab.train.resume.state`: tensors are `PIECE/NAME`, what is no tensor is JSON in the
metadata under the piece's name.
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
from snrlab.train.loop import FORK
from snrlab.train.resume.state import PIECES, UnfitError

logger = logging.getLogger(__name__)

KEEP = 2


class NotFiniteError(UserError):
    """Weights that are no numbers any more: nothing to keep."""

    def __init__(self, message: str) -> None:
        """With which weights, and how to go on."""
        super().__init__(message, code="not-finite")


def state(job: Job) -> dict[str, Tensor]:
    """Every tensor that a step changes, by name."""
    return {f"{piece.name}/{name}": t for piece in PIECES for name, t in piece.take(job)[0].items()}


def size(job: Job) -> int:
    """Bytes of the tensors of a checkpoint as the state is now."""
    return sum(t.numel() * t.element_size() for t in state(job).values())


def save_checkpoint(job: Job, folder: Path, step: int) -> Path:
    """Write the state after `step` optimizer steps and drop all but the last two checkpoints.

    Raises:
        NotFiniteError: a weight is not a number; the checkpoints before stay.
        WriteError: the disk is full, or the folder cannot be written to; the checkpoints before stay.
    """
    for name, parameter in job.parameters.items():
        if not torch.isfinite(parameter.detach()).all():
            raise NotFiniteError(f"after step {step - 1} the weight {name} holds what is not a number. {FORK}")
    folder.mkdir(exist_ok=True)
    path = name_of(folder, step)
    metadata = {"step": str(step)} | {piece.name: json.dumps(piece.take(job)[1]) for piece in PIECES}
    with timed(logger, f"wrote {path}"):
        write_tensors(path, pending(state(job)), metadata, sealed=True)
    for old in _superseded(folder, path):
        old.unlink(missing_ok=True)
    return path


def name_of(folder: Path, step: int) -> Path:
    """The file of the state after `step` steps."""
    return folder / f"step-{step:08d}.safetensors"


def step_of(path: Path) -> int:
    """The number of steps after which a checkpoint was taken."""
    return int(path.stem.removeprefix("step-"))


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoint files, oldest first; unfinished ones have another name."""
    return sorted(folder.glob("step-*.safetensors"))


def newest(folder: Path) -> Path | None:
    """The newest checkpoint that is whole, with a warning of each that is passed over; None where there are none.

    Raises:
        UserError: there are checkpoints, and none is whole.
    """
    found = checkpoints(folder)
    for path in reversed(found):
        wrong = damage(path)
        if wrong is None:
            return path
        logger.warning(f"checkpoint {path.name} is passed over: {wrong}.")
    if found:
        raise UserError(f"{folder}: no checkpoint is whole. Train again under another name.", code="no-checkpoint")
    return None


def restore(job: Job, folder: Path) -> int:
    """Load the newest whole checkpoint into the job; the number of steps done, 0 without one.

    Raises:
        UserError: a checkpoint of another run, or checkpoints of which none is whole.
    """
    path = newest(folder)
    if path is None:
        return 0
    with safetensors.safe_open(str(path), framework="pt") as file:
        metadata = file.metadata()
        for piece in PIECES:
            prefix = f"{piece.name}/"
            # mapped, not read: each piece copies what it takes, so nothing is in memory twice
            mine = {key.removeprefix(prefix): file.get_tensor(key) for key in file.keys() if key.startswith(prefix)}  # noqa: SIM118
            if piece.name not in metadata:
                raise UserError(
                    f"{path}: this checkpoint is of another version: it has no {piece.name}.",
                    code="checkpoint-mismatch",
                )
            try:
                piece.put(job, mine, json.loads(metadata[piece.name]))
            except UnfitError as what:
                raise UserError(
                    f"{path}: this checkpoint belongs to a run with another {what}.", code="checkpoint-mismatch"
                ) from None
    logger.debug(f"restored {path}")
    return int(metadata["step"])


def _superseded(folder: Path, newest: Path) -> list[Path]:
    """Checkpoints that are not needed beside the newest: those too old, and later ones, which were not whole."""
    found = checkpoints(folder)
    place = found.index(newest)
    return [*found[: max(0, place + 1 - KEEP)], *found[place + 1 :]]
