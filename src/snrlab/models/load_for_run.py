"""The base model as a run uses it, with the run's caption encoding and number format."""

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
        UserError: it cannot be loaded, or cannot be used as the run file asks.
    """
    dtype, frozen = DTYPES[config.model.precision], config.train.method == "lora"
    base = load_base(config.model, config.seed, dtype if frozen else DTYPES["fp32"])
    return with_precision(as_configured(base, config), dtype, frozen=frozen)


def model_name(model: ModelConfig) -> str:
    """Name of the base model: its file or folder, or the name of a shipped one."""
    return Path(model.path).name if model.path is not None else str(model.shipped or model.random)


def as_configured(components: Components, config: RunConfig) -> Components:
    """The same model, encoding captions by the run's rule."""
    rule = EncodeRule(_clip_skip(config, components), config.model.max_tokens, config.data.weighted_captions)
    return replace(components, encode_rule=rule)


def _clip_skip(config: RunConfig, components: Components) -> int | None:
    """The layer to condition on, where the family offers a choice; None for the family's default.

    Raises:
        UserError: the family offers no choice, or there is no such layer.
    """
    clip_skip = config.model.clip_skip
    if clip_skip is None or (components.family == "sdxl" and clip_skip == 2):  # SDXL's default
        return None
    if components.family != "sd1":
        name = {"sd2": "SD 2", "sdxl": "SDXL"}[components.family]
        raise UserError(
            f"model.clip_skip is {clip_skip}, but {components.label} is an {name} model, which always takes its text "
            "encoder's second last layer, here as elsewhere (kohya warns or ignores it). Leave clip_skip out.",
            code="unused-option",
        )
    layers = components.text_encoder.config.num_hidden_layers
    if clip_skip > layers:
        raise UserError(
            f"model.clip_skip is {clip_skip}; the text encoder of {components.label} has {layers} layers.",
            code="out-of-range",
        )
    return clip_skip
