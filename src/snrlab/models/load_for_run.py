"""The base model as a run uses it: how it is told captions, and what it computes in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from snrlab.config.run import RunConfig
from snrlab.config.sections.model import ModelConfig
from snrlab.core.errors import UserError
from snrlab.models.arithmetic import with_precision
from snrlab.models.components import Components
from snrlab.models.encode_rule import EncodeRule
from snrlab.models.storage.source import DTYPES, load_base


def load_for_run(config: RunConfig) -> Components:
    """Load or build the base model of a run, on the CPU.

    Raises:
        UserError: it cannot be loaded, or cannot be used as the run says.
    """
    dtype, frozen = DTYPES[config.model.precision], config.train.method == "lora"
    base = load_base(config.model, config.seed, dtype if frozen else DTYPES["fp32"])
    return with_precision(as_configured(base, config), dtype, frozen=frozen)


def model_name(model: ModelConfig) -> str:
    """What the base model is called: its file or folder, or the name of one that ships."""
    return Path(model.path).name if model.path is not None else str(model.shipped or model.random)


def as_configured(components: Components, config: RunConfig) -> Components:
    """The same model, encoding captions by the run's rule."""
    rule = EncodeRule(_clip_skip(config, components), config.model.max_tokens, config.data.weighted_captions)
    return replace(components, encode_rule=rule)


def _clip_skip(config: RunConfig, components: Components) -> int | None:
    """The layer to condition on, where the family lets one choose.

    Raises:
        UserError: it does not, or there is no such layer.
    """
    asked = config.model.clip_skip
    if asked is None or (components.family == "sdxl" and asked == 2):  # what SDXL does anyway
        return None
    if components.family != "sd1":
        name = {"sd2": "SD 2", "sdxl": "SDXL"}[components.family]
        raise UserError(
            f"model.clip_skip is {asked}, but {components.label} is an {name} model, which always takes its text "
            "encoder's second last layer, here as elsewhere (kohya warns or ignores it). Leave clip_skip out.",
            code="unused-option",
        )
    layers = components.text_encoder.config.num_hidden_layers
    if asked > layers:
        raise UserError(
            f"model.clip_skip is {asked}; the text encoder of {components.label} has {layers} layers.",
            code="out-of-range",
        )
    return asked
