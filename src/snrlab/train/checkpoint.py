"""Checkpoints: the whole changing state of a run in one safetensors file, written atomically.

Trained weights, their average and AdamW's moments are all there is: the learning rate, the data
order and every random draw are functions of the step.
"""

from __future__ import annotations

from pathlib import Path

import safetensors
from torch import Tensor

from snrlab.core.errors import UserError
from snrlab.models.safetensors_file import to_bytes, write_atomically
from snrlab.train.job import Job

KEEP = 2


def state(job: Job) -> dict[str, Tensor]:
    """Every tensor that a step changes, by name."""
    tensors = {f"weight/{name}": p.detach() for name, p in job.parameters.items()}
    for name, parameter in job.parameters.items():
        for key, value in job.optimizer.state[parameter].items():
            tensors[f"{key}/{name}"] = value
    if job.ema is not None:
        tensors |= {f"ema/{name}": shadow for name, shadow in zip(job.parameters, job.ema.shadow_params, strict=True)}
    return tensors


def save(job: Job, folder: Path, step: int) -> Path:
    """Write the state after `step` optimizer steps and drop all but the last two checkpoints."""
    folder.mkdir(exist_ok=True)
    path = folder / f"step-{step:08d}.safetensors"
    tensors = {name: tensor.contiguous().cpu() for name, tensor in state(job).items()}
    write_atomically(path, to_bytes(tensors, {"step": str(step)}))
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
                step = int(file.metadata()["step"])
        except (safetensors.SafetensorError, OSError):
            continue
        _load(job, tensors, path)
        if job.ema is not None:
            for name, shadow in zip(job.parameters, job.ema.shadow_params, strict=True):
                shadow.copy_(tensors[f"ema/{name}"])
            job.ema.optimization_step = step  # its decay warms up with the number of updates
        return step
    if found:
        raise UserError(f"{folder}: no checkpoint can be read. Train again under another name.")
    return 0


def _load(job: Job, tensors: dict[str, Tensor], path: Path) -> None:
    weights = {key.removeprefix("weight/") for key in tensors if key.startswith("weight/")}
    if weights != set(job.parameters):
        raise UserError(f"{path}: this checkpoint belongs to a run with other trained weights.")
    for name, parameter in job.parameters.items():
        parameter.data.copy_(tensors[f"weight/{name}"])
        entries = {key: tensors[f"{key}/{name}"] for key in ("step", "exp_avg", "exp_avg_sq")}
        job.optimizer.state[parameter] = {
            key: value if key == "step" and job.device.type == "cpu" else value.to(job.device)
            for key, value in entries.items()
        }
