"""How files state the options of kohya sd-scripts: argument lists, metadata of finished files."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from snrlab.config.option_tables.kohya import RUN
from snrlab.core.registries.parameters import parse_value

# what a finished file leaves out although it changes the recipe
NOT_RECORDED = ("v_parameterization", "scale_v_pred_loss_like_noise_pred", "v_pred_like_loss", "min_timestep",
                "max_timestep")  # fmt: skip

# what `ss_datasets` says of one data set, under the names of a training file
OF_A_DATASET = ("resolution", "batch_size_per_device", "enable_bucket", "min_bucket_reso", "max_bucket_reso")
OF_A_SUBSET = ("shuffle_caption", "keep_tokens", "flip_aug", "random_crop", "color_aug", "caption_prefix",
               "caption_suffix", "num_repeats")  # fmt: skip

_RENAMED = {"debiased_estimation": "debiased_estimation_loss", "batch_size_per_device": "train_batch_size",
           "num_repeats": "dataset_repeats",
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
            name = _RENAMED.get(key[3:], key[3:])
            if name in RUN and text not in ("None", ""):
                found[name] = _value(name, text)
    found = _pictures(metadata) | found
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


def _pictures(metadata: Mapping[str, str]) -> dict[str, Any]:
    """What `ss_datasets` says of the pictures, where it is one data set; of several only what they share.

    >>> _pictures({"ss_datasets": '[{"resolution": [512, 768], "batch_size_per_device": 5, "subsets": []}]'})
    {'resolution': '512,768', 'train_batch_size': 5}
    """
    try:
        sets = json.loads(metadata.get("ss_datasets", "[]"))
        subsets = [subset for group in sets for subset in group.get("subsets", []) if not subset.get("is_reg")]
        found = _shared(sets, OF_A_DATASET) | _shared(subsets, OF_A_SUBSET)
    except (ValueError, RecursionError, AttributeError, TypeError):
        return {}
    if isinstance(found.get("resolution"), list):
        found["resolution"] = ",".join(str(side) for side in found["resolution"])
    return {_RENAMED.get(name, name): value for name, value in found.items()}


def _shared(tables: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """The values that all tables have in common, of those that are stated."""
    values = {name: [table.get(name) for table in tables] for name in names}
    return {name: v[0] for name, v in values.items() if v and v[0] is not None and all(x == v[0] for x in v)}


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
