"""How files state the options of kohya sd-scripts: argument lists, metadata of finished files."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

from snrlab.config.kohya_options import RUN
from snrlab.core.parameters import parse_value

# what a finished file leaves out although it changes the recipe
NOT_RECORDED = ("v_parameterization", "scale_v_pred_loss_like_noise_pred", "v_pred_like_loss", "min_timestep",
                "max_timestep")  # fmt: skip

RENAMED = {"debiased_estimation": "debiased_estimation_loss", "batch_size_per_device": "train_batch_size",
           "sd_model_name": "pretrained_model_name_or_path", "vae_name": "vae"}  # fmt: skip


def split_arguments(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with `network_args` and `optimizer_args` as tables, in whichever form they are written."""
    found = dict(options)
    for name in ("network_args", "optimizer_args"):
        value = found.get(name)
        if isinstance(value, str):
            value = _words(value)
        if isinstance(value, list):
            pairs = (str(item).partition("=") for item in value)
            found[name] = {key.strip(): parse_value(text.strip()) for key, _, text in pairs}
    return found


def from_metadata(metadata: Mapping[str, str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """(options, options that the file does not tell) of the `ss_*` keys of a finished file."""
    found: dict[str, Any] = {}
    for key, text in metadata.items():
        if key.startswith("ss_"):
            name = RENAMED.get(key[3:], key[3:])
            if name in RUN and text not in ("None", ""):
                found[name] = _value(name, text)
    kind, bracket, arguments = str(metadata.get("ss_optimizer", "")).partition("(")
    if kind not in ("", "None"):
        found["optimizer_type"] = kind.rpartition(".")[2]
        found["optimizer_args"] = _arguments(arguments.removesuffix(")")) if bracket else []
    said = metadata.get("modelspec.prediction_type", "")
    left_open = list(NOT_RECORDED)
    if said in ("v", "epsilon") or metadata.get("ss_base_model_version", "").endswith("_v"):
        found["v_parameterization"] = said == "v" or metadata.get("ss_base_model_version", "").endswith("_v")
        left_open.remove("v_parameterization")
    if "modelspec.timestep_range" in metadata:
        low, _, high = metadata["modelspec.timestep_range"].partition(",")
        if low.strip().isdigit() and high.strip().isdigit():
            found |= {"min_timestep": int(low), "max_timestep": int(high)}
            left_open = [name for name in left_open if not name.endswith("_timestep")]
    return found, tuple(left_open)


def _value(name: str, text: str) -> Any:
    """A value that metadata keeps as text: a table or list as JSON, or a number."""
    if RUN[name].type.endswith("list") and text[:1] in ("{", "["):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return text
        return [f"{key}={value}" for key, value in found.items()] if isinstance(found, dict) else found
    value = parse_value(text)
    return bool(value) if RUN[name].type == "flag" and isinstance(value, int) else value


def _words(text: str) -> list[str]:
    """Arguments as a shell has them, quotes taken off; as they are where a quote is not closed."""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _arguments(text: str) -> list[str]:
    """`a=1,betas=(0.9, 0.99)` as a list: commas in brackets do not separate."""
    return [part.strip() for part in re.split(r",(?![^(]*\))", text) if part.strip()]
