"""Recognition of files that are not a trainer's settings, with what to give instead."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from snrlab.config.option_tables.kohya import KOHYA_OPTIONS
from snrlab.core.errors import UserError

READ = "Name a file of training settings by kohya_ss, kohya's scripts, LoRA_Easy or OneTrainer"
IMAGE_FACTS = {"caption", "tags", "train_resolution", "image_size"}
LORA_MARKS = ("lora", "lycoris", "hada_w1", "lokr_w", "oft_blocks")
WINDOW = {"settings", "server", "folders", "configuration", "accelerate_launch", "dataset_preparation", "wd14_caption"}


def refuse_other_toml(name: str, tables: Mapping[str, Any]) -> None:
    """Refuse a TOML that belongs to a training but does not hold its settings, and say what it is.

    Raises:
        UserError: the file is of such a kind.
    """
    if "datasets" in tables:
        raise UserError(
            f"{name} is kohya's dataset TOML: it says which images, not how they are trained on. Give the settings "
            f"file that it belongs to, as in: snrlab import SETTINGS.toml {name}",
            code="wrong-file",
        )
    if len(WINDOW & set(tables)) > 1 or set(tables) == {"server"}:
        raise UserError(
            f"{name} is the configuration of kohya_ss' window, its folders and first values, not of one training. "
            "Save the settings in the window (Configuration, Save) and give that JSON file.",
            code="wrong-file",
        )
    if "prompts" in tables and not set(tables) & set(KOHYA_OPTIONS):
        raise UserError(f"{name} is a list of prompts. {READ}.", code="wrong-file")
    if {"enable_conv", "unet_target_module", "unet_target_name", "module_algo_map"} & set(tables):
        raise UserError(f"{name} is a preset of LyCORIS, which says what layers it adapts. {READ}.", code="wrong-file")


def describe_list(items: Sequence[Any]) -> str:
    """Describe a JSON array by its first entry."""
    first = items[0] if items and isinstance(items[0], dict) else {}
    if "path" in first and {"image", "text"} & set(first):
        return "OneTrainer's list of concepts, the folders of images. Give the configuration that names this file"
    if "prompt" in first:
        return "OneTrainer's list of samples, the prompts of pictures. Give the configuration that names this file"
    return f"a JSON list. {READ}"


def describe_object(table: Mapping[str, Any]) -> str:
    """Describe a JSON object that has no known settings."""
    facts = next(iter(table.values()), None)
    if isinstance(facts, dict) and IMAGE_FACTS & set(facts):
        return f"kohya's metadata of images, their captions and sizes. {READ}"
    return f"neither a settings file of kohya_ss nor a configuration of OneTrainer. {READ}"


def weights_kind(names: Collection[str]) -> str:
    """Kind of a weights file by its tensors' names: a LoRA, one in the layout of cloneofsimo's lora, or a checkpoint.

    >>> weights_kind(["unet:0:up", "unet:0:down"])
    "a LoRA in the format of cloneofsimo's lora"
    """
    if any(mark in name for name in names for mark in LORA_MARKS):
        return "a LoRA"
    if any(name.startswith(("unet:", "text_encoder:")) and name.endswith((":up", ":down")) for name in names):
        return "a LoRA in the format of cloneofsimo's lora"
    return "a checkpoint"
