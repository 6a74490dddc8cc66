"""Parsers for texts that state kohya options: argument lists, and the metadata of finished files."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from snrlab.config.option_tables.kohya import RUN
from snrlab.core.registries.parameters import parse_value

# options that change the recipe but are not recorded in a finished file
NOT_RECORDED = ("v_parameterization", "scale_v_pred_loss_like_noise_pred", "v_pred_like_loss", "min_timestep",
                "max_timestep")  # fmt: skip

# keys of one data set in `ss_datasets`, under the names of a training file
OF_A_DATASET = ("resolution", "batch_size_per_device", "enable_bucket", "min_bucket_reso", "max_bucket_reso")
OF_A_SUBSET = ("shuffle_caption", "keep_tokens", "flip_aug", "random_crop", "color_aug", "caption_prefix",
               "caption_suffix", "num_repeats")  # fmt: skip

_RENAMED = {"debiased_estimation": "debiased_estimation_loss", "batch_size_per_device": "train_batch_size",
           "num_repeats": "dataset_repeats",
           "sd_model_name": "pretrained_model_name_or_path", "vae_name": "vae"}  # fmt: skip


def split_arguments(options: Mapping[str, Any]) -> dict[str, Any]:
    """Turn `network_args` and `optimizer_args` into tables, whether they are written as text or as a list."""
    split = dict(options)
    for name in ("network_args", "optimizer_args"):
        value = split.get(name)
        if isinstance(value, str):
            value = _split_words(value)
        if isinstance(value, list):
            pairs = (str(item).partition("=") for item in value)
            split[name] = {key.strip(): parse_value(text.strip()) for key, _, text in pairs}
    return split


def from_metadata(metadata: Mapping[str, str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """(options, names of options that were not recorded) from the `ss_*` keys of a finished file."""
    options: dict[str, Any] = {}
    for key, text in metadata.items():
        if key.startswith("ss_"):
            name = _RENAMED.get(key[3:], key[3:])
            if name in RUN and text not in ("None", ""):
                options[name] = _parse_value(name, text)
    options = _dataset_options(metadata) | options
    kind, bracket, arguments = str(metadata.get("ss_optimizer", "")).partition("(")
    if kind not in ("", "None"):
        options["optimizer_type"] = kind.rpartition(".")[2]
        options["optimizer_args"] = _split_arguments(arguments.removesuffix(")")) if bracket else []
    prediction = metadata.get("modelspec.prediction_type", "")
    unrecorded = list(NOT_RECORDED)
    if prediction in ("v", "epsilon") or metadata.get("ss_base_model_version", "").endswith("_v"):
        options["v_parameterization"] = prediction == "v" or metadata.get("ss_base_model_version", "").endswith("_v")
        unrecorded.remove("v_parameterization")
    if "modelspec.timestep_range" in metadata:
        low, _, high = metadata["modelspec.timestep_range"].partition(",")
        if low.strip().isdigit() and high.strip().isdigit():
            options |= {"min_timestep": int(low), "max_timestep": int(high)}
            unrecorded = [name for name in unrecorded if not name.endswith("_timestep")]
    return options, tuple(unrecorded)


def _dataset_options(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Options of the images from `ss_datasets`: of one data set all, of several those that they share.

    >>> _dataset_options({"ss_datasets": '[{"resolution": [512, 768], "batch_size_per_device": 5, "subsets": []}]'})
    {'resolution': '512,768', 'train_batch_size': 5}
    """
    try:
        sets = json.loads(metadata.get("ss_datasets", "[]"))
        subsets = [subset for group in sets for subset in group.get("subsets", []) if not subset.get("is_reg")]
        options = _shared(sets, OF_A_DATASET) | _shared(subsets, OF_A_SUBSET)
    except (ValueError, RecursionError, AttributeError, TypeError):
        return {}
    if isinstance(options.get("resolution"), list):
        options["resolution"] = ",".join(str(side) for side in options["resolution"])
    return {_RENAMED.get(name, name): value for name, value in options.items()}


def _shared(tables: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Values that are stated and the same in all tables."""
    values = {name: [table.get(name) for table in tables] for name in names}
    return {name: v[0] for name, v in values.items() if v and v[0] is not None and all(x == v[0] for x in v)}


def _parse_value(name: str, text: str) -> Any:
    """Parse a value that metadata keeps as text: a table or list in JSON, or a number."""
    if RUN[name].type.endswith("list") and text[:1] in ("{", "["):
        try:
            parsed = json.loads(text)
        except (ValueError, RecursionError):
            return text
        return [f"{key}={value}" for key, value in parsed.items()] if isinstance(parsed, dict) else parsed
    value = parse_value(text)
    return bool(value) if RUN[name].type == "flag" and isinstance(value, int) else value


def _split_words(text: str) -> list[str]:
    """Split arguments as a shell does, without the quotes; at spaces where a quote is not closed."""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _split_arguments(text: str) -> list[str]:
    """Split `a=1,betas=(0.9, 0.99)` at the commas that are not in brackets."""
    return [part.strip() for part in re.split(r",(?![^(]*\))", text) if part.strip()]
