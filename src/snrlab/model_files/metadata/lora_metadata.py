"""What a LoRA file says about itself: kohya's `ss_*`, `modelspec.*`, and our own recipe and run. Never a path."""

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
SGM = "https://github.com/Stability-AI/generative-models"  # whose names the UNet of an SDXL LoRA has


def lora_metadata(config: RunConfig, recipe: Recipe, training: Training) -> dict[str, str]:
    """Metadata of a LoRA; values are texts, dates only where `output.dates` asks for them."""
    plain = {
        **kohya_metadata(config, recipe, training),
        **_modelspec(config, recipe, training),
        "snrlab.version": __version__,
        "snrlab.recipe": recipe.as_dict(),
        "snrlab.config": without_paths(config).model_dump(mode="json"),
    }
    if config.output.dates and training.started and training.finished:
        plain |= {
            "ss_training_started_at": training.started.timestamp(),
            "ss_training_finished_at": training.finished.timestamp(),
            "modelspec.date": training.finished.astimezone(UTC).isoformat(timespec="seconds"),
        }
    return {k: _text(v) for k, v in plain.items()}


def _modelspec(config: RunConfig, recipe: Recipe, training: Training) -> dict[str, object]:
    family, size = training.base.family, training.images.size
    v = recipe.prediction_type == "v_prediction"
    architecture = ARCHITECTURES.get(family) or f"stable-diffusion-v2-{'768-v' if v else '512'}"
    drawn = np.flatnonzero(recipe.tables().p)
    return {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{architecture}/lora",
        "modelspec.implementation": SGM if family == "sdxl" else "diffusers",
        "modelspec.implementation_version": f"snrlab/{__version__}",
        "modelspec.title": config.name,
        "modelspec.resolution": f"{size[0]}x{size[1]}",
        "modelspec.prediction_type": "v" if v else recipe.prediction_type,
        "modelspec.timestep_range": f"{drawn[0]},{drawn[-1] + 1}",  # as kohya's: the end is not among them
        "modelspec.encoder_layer": config.model.clip_skip or (1 if family == "sd1" else 2),
        **description_metadata(config),
    }


def description_metadata(config: RunConfig) -> dict[str, str]:
    """What [output] says of the result for people, in the keys that model browsers show."""
    output = config.output
    words = {
        "title": output.title,
        "author": output.author,
        "description": output.description,
        "license": output.license,
        "tags": ", ".join(output.tags),
        "trigger_phrase": output.trigger_phrase,
    }
    return {f"modelspec.{name}": text for name, text in words.items() if text}


def _text(value: object) -> str:
    """Kohya's spelling: Python's str, JSON for containers."""
    return json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else str(value)
