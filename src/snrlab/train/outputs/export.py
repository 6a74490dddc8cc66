"""Export of the result: a LoRA file that other programs load, or the model as one file or a diffusers folder."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from snrlab.files.writing import folder_atomically
from snrlab.model_files.metadata.lora_metadata import description_metadata, lora_metadata
from snrlab.model_files.resolve import trained_scheduler
from snrlab.models.lora.adapters import trained_lora
from snrlab.models.lora.lora_file import write_lora
from snrlab.models.storage.save_folder import save_folder
from snrlab.models.storage.save_single_file import save_single_file
from snrlab.models.storage.source import DTYPES
from snrlab.train.job import Job
from snrlab.train.outputs.training_metadata import training_facts


def export_result(
    job: Job, path: Path, steps: int, started: datetime | None = None, *, largest: int | None = None
) -> None:
    """Write the result after `steps` steps, whole or not at all; dates are included if `started` is known.

    With `largest` this is a trial of whether it can be written: tensors of a whole model with more bytes are left out,
    and so are the hashes of the base model, for which its file has to be read to the end.
    """
    config = job.config
    dtype = DTYPES[config.output.precision]
    if config.train.method == "full":
        _export_model(job, path, dtype, started, largest)
        return
    metadata = lora_metadata(config, job.recipe, training_facts(job, steps, started, hashed=largest is None))
    model, form = job.components, config.output.lora_format
    write_lora(path, trained_lora(model), metadata, form, model.family, model.unet.config, dtype)


def _export_model(job: Job, path: Path, dtype: torch.dtype, started: datetime | None, largest: int | None) -> None:
    """Write all weights as a single file or a diffusers folder."""
    scheduler = trained_scheduler(job.components.scheduler_config, job.recipe)
    model = replace(job.components, scheduler_config=scheduler, label=job.config.name)
    if job.config.single_file:
        metadata = description_metadata(job.config) | {
            "snrlab.recipe": json.dumps(job.recipe.as_dict(), sort_keys=True)
        }
        if job.config.output.dates and started:
            metadata["modelspec.date"] = datetime.now(UTC).isoformat(timespec="seconds")
        save_single_file(model, path, dtype, metadata, largest)
        return
    with folder_atomically(path) as folder:
        save_folder(model, folder, dtype, largest)
