"""The base model that a run names: a folder of the user's, or the packaged small architecture."""

from __future__ import annotations

from pathlib import Path

from snrlab.config.run import ModelConfig
from snrlab.models import components
from snrlab.models.components import Components
from snrlab.models.small.build import build


def load_base(config: ModelConfig, seed: int) -> Components:
    """Load or build the base model, in fp32 on the CPU (UserError where it cannot be)."""
    return components.load(Path(config.path)) if config.path is not None else build(seed)
