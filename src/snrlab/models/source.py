"""The base model that a run names: a folder of the user's, or a small model that ships."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources
from pathlib import Path

from diffusers import UNet2DConditionModel

from snrlab.config.model import ModelConfig, ShippedModel
from snrlab.models import components
from snrlab.models.components import Components
from snrlab.models.small.build import build


def load_base(config: ModelConfig, seed: int) -> Components:
    """Load or build the base model, in fp32 on the CPU (UserError where it cannot be)."""
    if config.path is not None:
        return components.load(Path(config.path))
    return shipped(config.shipped) if config.shipped is not None else build(config.random or "small", seed)


def shipped(name: ShippedModel) -> Components:
    """A small model that ships with the package.

    What small_v shares with small is taken from there: a checkout without symbolic links, as on Windows, has it
    in no other place.
    """
    model = replace(components.load(shipped_folder("small")), label=f"snrlab-{name.replace('_', '-')}")
    if name == "small":
        return model
    own = shipped_folder(name)
    return replace(
        model,
        unet=UNet2DConditionModel.from_pretrained(own / "unet", local_files_only=True, use_safetensors=True),
        scheduler_config=json.loads((own / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8")),
    )


def shipped_folder(name: ShippedModel) -> Path:
    """Where it is: a folder in diffusers layout."""
    return Path(str(resources.files(f"snrlab.models.{name}")))
