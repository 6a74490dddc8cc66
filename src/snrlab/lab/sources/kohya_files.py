"""Files of the programs around kohya sd-scripts, read as its own options: kohya_ss, LoRA_Easy_Training_Scripts."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from snrlab.config.kohya_options import OPTIONS, RUN
from snrlab.core.errors import UserError
from snrlab.core.parameters import parse_value

GUI_KEYS = {"LoRA_type", "train_batch_size", "max_resolution", "additional_parameters", "optimizer"}
GUI_NAMES = {
    "optimizer": "optimizer_type", "max_resolution": "resolution", "lora_network_weights": "network_weights",
    "sdxl_no_half_vae": "no_half_vae", "sdxl_cache_text_encoder_outputs": "cache_text_encoder_outputs",
    "create_buckets": "enable_bucket", "image_folder": "train_data_dir", "conv_dims": "conv_block_dims",
    "conv_alphas": "conv_block_alphas",
}  # fmt: skip
EASY_NAMES = {"batch_size": "train_batch_size", "warmup_ratio": "lr_warmup_steps"}
NUMBERS = ("int", "float", "int_or_float")
LYCORIS = "LyCORIS/"


def of_gui(found: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(options of sd-scripts, what the file says besides) of settings of kohya_ss; an empty field says nothing.

    Raises:
        UserError: its additional parameters cannot be read.
    """
    stated = {GUI_NAMES.get(name, name): value for name, value in found.items() if value not in ("", None)}
    options = {name: _typed(name, value) for name, value in stated.items() if name in RUN}
    beside = {name: _typed(name, value) for name, value in stated.items() if name not in RUN}
    _length(options, beside)
    if (per_cent := _number(beside.pop("lr_warmup", 0))) and not options.get("lr_warmup_steps"):
        options["lr_warmup_steps"] = per_cent / 100
    if str(beside.pop("noise_offset_type", "")).startswith("Multires"):
        options.pop("noise_offset", None)
    else:
        for name in ("multires_noise_iterations", "multires_noise_discount"):
            options.pop(name, None)
    if not any(_number(options.get(name)) for name in ("unet_lr", "text_encoder_lr")):
        for name in ("unet_lr", "text_encoder_lr"):  # both 0: learning_rate is for both
            options.pop(name, None)
    if "LoRA_type" in beside:
        options |= _network(beside)
    options |= read_arguments(str(beside.pop("additional_parameters", "")))
    return options, beside


def of_easy(tables: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
    """(options of sd-scripts, what the file says besides, subsets of images) of a LoRA_Easy TOML."""
    stated: dict[str, Any] = {}
    for section in tables.values():
        if isinstance(section, dict):
            for part in ("args", "dataset_args"):
                inner = section.get(part)
                stated |= inner if isinstance(inner, dict) else {}
    stated = {EASY_NAMES.get(name, name): value for name, value in stated.items()}
    if isinstance(stated.get("resolution"), list):
        stated["resolution"] = ",".join(str(side) for side in stated["resolution"])
    mode = tables.get("train_mode", {})
    if isinstance(mode, dict) and "train_mode" in mode:
        stated["train_mode"] = mode["train_mode"]
    if stated.get("train_mode", "lora") == "lora":
        algorithm = isinstance(stated.get("network_args"), dict) and "algo" in stated["network_args"]
        stated.setdefault("network_module", "lycoris.kohya" if algorithm else "networks.lora")
    gui = {name for name, option in OPTIONS.items() if option.part == "gui"}
    subsets = tables.get("subsets", [])
    return (
        {name: value for name, value in stated.items() if name not in gui},
        {name: value for name, value in stated.items() if name in gui},
        [subset for subset in subsets if isinstance(subset, dict)] if isinstance(subsets, list) else [],
    )


def read_arguments(text: str) -> dict[str, Any]:
    """Options as a command line writes them.

    >>> read_arguments('--debiased_estimation_loss --log_prefix=xl --optimizer_args "a=1" "b=2"')
    {'debiased_estimation_loss': True, 'log_prefix': 'xl', 'optimizer_args': ['a=1', 'b=2']}

    Raises:
        UserError: a quote is not closed.
    """
    try:
        words = shlex.split(text)
    except ValueError as reason:
        raise UserError(f"additional_parameters '{text}' cannot be read: {str(reason).lower()}.") from None
    given: dict[str, list[str]] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            given[name] = [value] if equals else []
        elif name:
            given[name].append(word)
    return {name: _argument(name, values) for name, values in given.items()}


def _argument(name: str, values: list[str]) -> Any:
    if name in RUN and RUN[name].type.endswith("list"):
        return values
    return True if not values else parse_value(values[0]) if len(values) == 1 else values


def _length(options: dict[str, Any], beside: dict[str, Any]) -> None:
    """kohya_ss goes by max_train_epochs, else by max_train_steps, else by its own epoch; 0 is not stated."""
    for name in ("max_train_epochs", "max_train_steps"):
        if name in options and not options[name]:
            del options[name]
    if "epoch" in beside and not {"max_train_epochs", "max_train_steps"} & set(options):
        options["max_train_epochs"] = int(_number(beside.pop("epoch")))


def _network(beside: dict[str, Any]) -> dict[str, Any]:
    """The network options of the settings, as network_args; `conv_dim` counts where the type has convolutions."""
    kind = str(beside["LoRA_type"])
    names = [name for name in beside if OPTIONS.get(name) is not None and OPTIONS[name].part == "network"]
    if kind == "Standard":
        names = [name for name in names if not name.startswith("conv_")]
    stated = {name: beside.pop(name) for name in names}
    arguments = {name: value for name, value in stated.items() if not OPTIONS[name].is_default(value)}
    if kind.startswith(LYCORIS):
        arguments["algo"] = kind.removeprefix(LYCORIS).lower()
    if kind in ("Standard", "Kohya LoCon", f"{LYCORIS}LoCon"):
        del beside["LoRA_type"]  # said by network_module
    module = "lycoris.kohya" if kind.startswith(LYCORIS) else "networks.lora"
    return {"network_module": module} | ({"network_args": arguments} if arguments else {})


def _typed(name: str, value: Any) -> Any:
    """A number that the GUI keeps as text, or as false where the field is empty."""
    if name not in OPTIONS or OPTIONS[name].type not in NUMBERS:
        return value
    if value is False:
        return 0
    number = parse_value(value) if isinstance(value, str) else value
    whole = OPTIONS[name].type == "int" and isinstance(number, float) and number.is_integer()
    return int(number) if whole else number


def _number(value: Any) -> float:
    found = parse_value(value) if isinstance(value, str) else value
    return float(found) if isinstance(found, int | float) else 0.0
