"""The finished result: a LoRA file that other programs load, or a diffusers folder."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from snrlab.core.schedule import SCHEDULES
from snrlab.models.lora import trained_lora
from snrlab.models.lora_file import write_lora
from snrlab.models.metadata import Base, Images, Training, file_hashes, lora_metadata
from snrlab.models.save_folder import save_folder
from snrlab.train.job import Job

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def export(job: Job, path: Path, steps: int, started: datetime | None = None) -> None:
    """Write the result after `steps` steps, whole or not at all; dates go in where `started` is known."""
    config = job.config
    dtype = DTYPES[config.output.precision]
    if config.train.method == "full":
        temporary = path.with_name(path.name + ".tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        save_folder(replace(job.components, scheduler_config=scheduler_config(job)), temporary, dtype)
        temporary.replace(path)
        return
    metadata = lora_metadata(config, job.recipe, _training(job, steps, started))
    model, form = job.components, config.output.lora_format
    write_lora(path, trained_lora(model), metadata, form, model.family, model.unet.config, dtype)


def scheduler_config(job: Job) -> dict[str, Any]:
    """The base's scheduler config, saying the prediction type and schedule that were trained."""
    config = {**job.components.scheduler_config, "prediction_type": job.recipe.prediction_type}
    trained = job.recipe.noise_schedule()
    if trained.terminal_snr_is_zero:
        config["timestep_spacing"] = (
            "trailing"  # a sampler that leaves out the last step misses the pure noise it was trained on
        )
    for attempt in (config, {**config, "rescale_betas_zero_snr": True}):
        table = SCHEDULES.bind("scheduler_config", config=json.dumps(attempt))().alphas_cumprod
        if len(table) == len(trained.alphas_cumprod) and np.allclose(table, trained.alphas_cumprod, rtol=1e-6):
            return attempt
    betas = 1 - trained.alphas_cumprod / np.r_[1.0, trained.alphas_cumprod[:-1]]
    return {**config, "rescale_betas_zero_snr": False, "trained_betas": betas.tolist()}


def _training(job: Job, steps: int, started: datetime | None) -> Training:
    images = len(job.conditions)
    model = Path(job.config.model.path) if job.config.model.path else None
    return Training(
        base=Base(
            name=job.components.label,
            family=job.components.family,
            hashes=file_hashes(model) if model and model.is_file() else None,
        ),
        images=Images(train=images, validation=len(job.held_back.names) if job.held_back else 0),
        steps=steps,
        epochs=-(-steps * job.total // images),
        started=started,
        finished=datetime.now(started.tzinfo) if started else None,
    )
