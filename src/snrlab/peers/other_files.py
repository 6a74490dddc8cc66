"""What a file is that is no settings of a trainer, and what to give instead."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from snrlab.config.option_tables.kohya import KOHYA_OPTIONS
from snrlab.core.errors import UserError

READ = "The settings file of a training is needed, from kohya_ss, kohya's scripts, LoRA_Easy or OneTrainer"
IMAGE_FACTS = {"caption", "tags", "train_resolution", "image_size"}
LORA_MARKS = ("lora", "lycoris", "hada_w1", "lokr_w", "oft_blocks")
WINDOW = {"settings", "server", "folders", "configuration", "accelerate_launch", "dataset_preparation", "wd14_caption"}


def refuse_other_toml(name: str, tables: Mapping[str, Any]) -> None:
    """Say of a TOML that belongs to a training, but is not its settings, what it is.

    Raises:
        UserError: it is such a file.
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


def a_list(found: Sequence[Any]) -> str:
    """What a JSON array is, as far as its first entry tells."""
    first = found[0] if found and isinstance(found[0], dict) else {}
    if "path" in first and {"image", "text"} & set(first):
        return "OneTrainer's list of concepts, the folders of images. Give the configuration that names this file"
    if "prompt" in first:
        return "OneTrainer's list of samples, the prompts of pictures. Give the configuration that names this file"
    return f"a JSON list. {READ}"


def an_object(found: Mapping[str, Any]) -> str:
    """What a JSON object is that has no settings which are known."""
    facts = next(iter(found.values()), None)
    if isinstance(facts, dict) and IMAGE_FACTS & set(facts):
        return f"kohya's metadata of images, their captions and sizes. {READ}"
    return f"neither a settings file of kohya_ss nor a configuration of OneTrainer. {READ}"


def weights_kind(names: Collection[str]) -> str:
    """A LoRA or a checkpoint, by the names of its tensors; one whose program had names of its own is told apart.

    >>> weights_kind(["unet:0:up", "unet:0:down"])
    "a LoRA in the format of cloneofsimo's lora"
    """
    if any(mark in name for name in names for mark in LORA_MARKS):
        return "a LoRA"
    if any(name.startswith(("unet:", "text_encoder:")) and name.endswith((":up", ":down")) for name in names):
        return "a LoRA in the format of cloneofsimo's lora"
    return "a checkpoint"
