"""The finished result: a LoRA file that other programs load, or a diffusers folder."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from snrlab.models.lora import kohya_state_dict
from snrlab.models.metadata import Training, lora_metadata
from snrlab.models.safetensors_file import kohya_hashes, to_bytes, write_atomically
from snrlab.models.save_folder import save_folder
from snrlab.models.save_single_file import save_single_file
from snrlab.models.source import DTYPES
from snrlab.train.job import Job
from snrlab.train.resolve import trained_scheduler


def export(job: Job, path: Path, steps: int, started: datetime | None = None) -> None:
    """Write the result after `steps` steps, whole or not at all; dates go in where `started` is known."""
    config = job.config
    dtype = DTYPES[config.output.precision]
    if config.train.method == "full":
        _export_model(job, path, dtype, started)
        return
    tensors = kohya_state_dict(job.components, alpha=config.lora.alpha or float(config.lora.rank), dtype=dtype)
    metadata = lora_metadata(config, job.recipe, _training(job, steps, started))
    write_atomically(path, to_bytes(tensors, metadata | kohya_hashes(tensors, metadata)))


def _export_model(job: Job, path: Path, dtype: torch.dtype, started: datetime | None) -> None:
    """Write all weights as a single file or a diffusers folder."""
    scheduler = trained_scheduler(job.components, job.recipe)
    model = replace(job.components, scheduler_config=scheduler, label=job.config.name)
    if job.config.single_file:
        metadata = {"snrlab.recipe": json.dumps(job.recipe.as_dict(), sort_keys=True)}
        if job.config.output.dates and started:
            metadata["modelspec.date"] = datetime.now(UTC).isoformat(timespec="seconds")
        save_single_file(model, path, dtype, metadata)
        return
    temporary = path.with_name(path.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    save_folder(model, temporary, dtype)
    temporary.replace(path)


def _training(job: Job, steps: int, started: datetime | None) -> Training:
    images = len(job.conditions)
    return Training(
        base=job.components.label,
        num_images=images,
        steps=steps,
        epochs=-(-steps * job.total // images),
        started=started,
        finished=datetime.now(started.tzinfo) if started else None,
    )
