"""Metadata of a LoRA file: kohya's `ss_*` keys, `modelspec.*`, and our own recipe and config. Never contains a path."""

from __future__ import annotations

import json
from datetime import UTC

import numpy as np

from snrlab import __version__
from snrlab.config.redact import without_paths
from snrlab.config.run import RunConfig
from snrlab.core.recipe import Recipe
from snrlab.model_files.families import Family
from snrlab.model_files.metadata.kohya_metadata import Training, kohya_metadata

ARCHITECTURES: dict[Family, str] = {"sd1": "stable-diffusion-v1", "sdxl": "stable-diffusion-xl-v1-base"}
SGM = "https://github.com/Stability-AI/generative-models"  # a LoRA of SDXL names UNet layers as this does


def lora_metadata(config: RunConfig, recipe: Recipe, training: Training) -> dict[str, str]:
    """Metadata of a LoRA as strings; dates are included only if `output.dates` is set."""
    values = {
        **kohya_metadata(config, recipe, training),
        **_modelspec(config, recipe, training),
        "snrlab.version": __version__,
        "snrlab.recipe": recipe.as_dict(),
        "snrlab.config": without_paths(config).model_dump(mode="json"),
    }
    if config.output.dates and training.started and training.finished:
        values |= {
            "ss_training_started_at": training.started.timestamp(),
            "ss_training_finished_at": training.finished.timestamp(),
            "modelspec.date": training.finished.astimezone(UTC).isoformat(timespec="seconds"),
        }
    return {key: _to_string(value) for key, value in values.items()}


def _modelspec(config: RunConfig, recipe: Recipe, training: Training) -> dict[str, object]:
    """Values of the `modelspec.*` keys."""
    family, resolution = training.base.family, training.images.size
    is_v = recipe.prediction_type == "v_prediction"
    architecture = ARCHITECTURES.get(family) or f"stable-diffusion-v2-{'768-v' if is_v else '512'}"
    sampled = np.flatnonzero(recipe.tables().p)
    return {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{architecture}/lora",
        "modelspec.implementation": SGM if family == "sdxl" else "diffusers",
        "modelspec.implementation_version": f"snrlab/{__version__}",
        "modelspec.title": config.name,
        "modelspec.resolution": f"{resolution[0]}x{resolution[1]}",
        "modelspec.prediction_type": "v" if is_v else recipe.prediction_type,
        "modelspec.timestep_range": f"{sampled[0]},{sampled[-1] + 1}",  # as in kohya: the end is exclusive
        "modelspec.encoder_layer": config.model.clip_skip or (1 if family == "sd1" else 2),
        **description_metadata(config),
    }


def description_metadata(config: RunConfig) -> dict[str, str]:
    """Description of the result from [output], in the `modelspec.*` keys that model browsers show."""
    output = config.output
    texts = {
        "title": output.title,
        "author": output.author,
        "description": output.description,
        "license": output.license,
        "tags": ", ".join(output.tags),
        "trigger_phrase": output.trigger_phrase,
    }
    return {f"modelspec.{name}": text for name, text in texts.items() if text}


def _to_string(value: object) -> str:
    """A value as kohya writes it: JSON for containers, else Python's str."""
    return json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else str(value)
