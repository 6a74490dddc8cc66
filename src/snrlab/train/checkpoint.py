"""Checkpoints: the whole changing state of a run in one safetensors file, written atomically.

Trained weights, their average and the optimizer's state are all there is: the learning rate, the data order and every
random draw are functions of the step. Tensors are `weight/NAME`, `ema/NAME` and `optimizer/KEY/NAME`; what an
optimizer keeps as plain numbers is JSON in the metadata.
"""

from __future__ import annotations

import json
from pathlib import Path

import safetensors
from torch import Tensor

from snrlab.core.errors import UserError
from snrlab.models.safetensors_file import pending, write_tensors
from snrlab.train.job import Job
from snrlab.train.optimizer import parts
from snrlab.train.optimizer_state import Numbers, put_state, take_state

KEEP = 2


def state(job: Job) -> dict[str, Tensor]:
    """Every tensor that a step changes, by name."""
    return _state(job)[0]


def save(job: Job, folder: Path, step: int) -> Path:
    """Write the state after `step` optimizer steps and drop all but the last two checkpoints."""
    folder.mkdir(exist_ok=True)
    path = folder / f"step-{step:08d}.safetensors"
    found, numbers = _state(job)
    scale = [job.loss_scale.value, job.loss_scale.good]
    metadata = {"step": str(step), "optimizer": json.dumps(numbers), "loss_scale": json.dumps(scale)}
    write_tensors(path, pending(found), metadata)
    for old in checkpoints(folder)[:-KEEP]:
        old.unlink()
    return path


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoint files, oldest first; unfinished ones have another name."""
    return sorted(folder.glob("step-*.safetensors"))


def restore(job: Job, folder: Path) -> int:
    """Load the newest readable checkpoint into the job; the number of steps done, 0 without one.

    Raises:
        UserError: a checkpoint of another run, or checkpoints of which none is readable.
    """
    found = checkpoints(folder)
    for path in reversed(found):
        try:
            with safetensors.safe_open(str(path), framework="pt") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (not a dict)
                metadata = file.metadata()
        except (safetensors.SafetensorError, OSError):
            continue
        step = int(metadata["step"])
        _load(job, tensors, metadata, path)
        if job.ema is not None:
            job.ema.optimization_step = step  # its decay warms up with the number of updates
        return step
    if found:
        raise UserError(f"{folder}: no checkpoint can be read. Train again under another name.")
    return 0


def _state(job: Job) -> tuple[dict[str, Tensor], list[Numbers]]:
    tensors = {f"weight/{name}": p.detach() for name, p in job.parameters.items()}
    numbers = []
    for optimizer, parameters in parts(job.optimizer, job.parameters):
        found, plain = take_state(optimizer, parameters)
        tensors |= {f"optimizer/{name}": tensor for name, tensor in found.items()}
        numbers.append(plain)
    if job.ema is not None:
        tensors |= {f"ema/{name}": shadow for name, shadow in zip(job.parameters, job.ema.shadow_params, strict=True)}
    return tensors, numbers


def _load(job: Job, tensors: dict[str, Tensor], metadata: dict[str, str], path: Path) -> None:
    weights = {key.removeprefix("weight/") for key in tensors if key.startswith("weight/")}
    if weights != set(job.parameters) or "optimizer" not in metadata:
        raise UserError(f"{path}: this checkpoint belongs to a run with other trained weights, or to another version.")
    for name, parameter in job.parameters.items():
        parameter.data.copy_(tensors[f"weight/{name}"])
    saved = {key.removeprefix("optimizer/"): value for key, value in tensors.items() if key.startswith("optimizer/")}
    made = parts(job.optimizer, job.parameters)
    numbers: list[Numbers] = json.loads(metadata["optimizer"])
    if len(numbers) != len(made):
        raise UserError(f"{path}: this checkpoint belongs to a run with another optimizer.")
    for (optimizer, parameters), plain in zip(made, numbers, strict=True):
        put_state(optimizer, parameters, saved, plain, job.device)
    if job.ema is not None:
        for name, shadow in zip(job.parameters, job.ema.shadow_params, strict=True):
            shadow.copy_(tensors[f"ema/{name}"])
    job.loss_scale.value, job.loss_scale.good = json.loads(metadata["loss_scale"])
