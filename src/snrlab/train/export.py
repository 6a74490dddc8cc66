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
from snrlab.models.lora import kohya_state_dict
from snrlab.models.metadata import Training, lora_metadata
from snrlab.models.safetensors_file import kohya_hashes, to_bytes, write_atomically
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
    tensors = kohya_state_dict(job.components, alpha=config.lora.alpha or float(config.lora.rank), dtype=dtype)
    metadata = lora_metadata(config, job.recipe, _training(job, steps, started))
    write_atomically(path, to_bytes(tensors, metadata | kohya_hashes(tensors, metadata)))


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
    return Training(
        base=job.components.label,
        num_images=images,
        steps=steps,
        epochs=-(-steps * job.total // images),
        started=started,
        finished=datetime.now(started.tzinfo) if started else None,
    )
