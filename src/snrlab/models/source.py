"""The base model that a run names: a folder of the user's, or a small model that ships."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources
from pathlib import Path

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
    """A small model that ships with the package."""
    return replace(components.load(shipped_folder(name)), label=f"snrlab-{name.replace('_', '-')}")


def shipped_folder(name: ShippedModel) -> Path:
    """Where it is: a folder in diffusers layout."""
    return Path(str(resources.files(f"snrlab.models.{name}")))
