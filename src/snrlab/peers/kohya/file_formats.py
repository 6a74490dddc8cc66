"""Reader for files of kohya_ss, LoRA_Easy_Training_Scripts and lora-scripts: settings as options of sd-scripts."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from snrlab.config.option_tables.kohya import KOHYA_OPTIONS, RUN
from snrlab.core.errors import UserError
from snrlab.core.registries.parameters import parse_value
from snrlab.peers.other_models import CHECKBOXES

GUI_KEYS = {"LoRA_type", "train_batch_size", "max_resolution", "additional_parameters", "optimizer"}
GUI_NAMES = {
    "optimizer": "optimizer_type", "max_resolution": "resolution", "lora_network_weights": "network_weights",
    "sdxl_no_half_vae": "no_half_vae", "sdxl_cache_text_encoder_outputs": "cache_text_encoder_outputs",
    "create_buckets": "enable_bucket", "image_folder": "train_data_dir", "conv_dims": "conv_block_dims",
    "conv_alphas": "conv_block_alphas",
}  # fmt: skip
EASY_NAMES = {"batch_size": "train_batch_size", "warmup_ratio": "lr_warmup_steps"}
OF_LORA_SCRIPTS = ("model_train_type", "train_type", "model_type")  # which program of kohya's it starts
_NUMBERS = ("int", "float", "int_or_float")
LYCORIS = "LyCORIS/"
_OTHER_MODELS = ("flux1_", "flux_", "sd3_", "hunyuan_", "anima_", "lumina_")  # beginnings of fields of the window
MODULES = {"LoRA-FA": "networks.lora_fa", "Kohya DyLoRA": "networks.dylora", "Kohya LoHa": "networks.loha",
           "Kohya LoKr": "networks.lokr"}  # fmt: skip
# which network options the window passes on, by the type of LoRA
_EVERY = ("rank_dropout", "module_dropout", "loraplus_lr_ratio", "loraplus_unet_lr_ratio",
         "loraplus_text_encoder_lr_ratio")  # fmt: skip
CONVOLUTIONS = ("conv_dim", "conv_alpha")
_BLOCKS = ("down_lr_weight", "mid_lr_weight", "up_lr_weight", "block_lr_zero_threshold", "block_dims", "block_alphas",
          "conv_block_dims", "conv_block_alphas")  # fmt: skip
OF_LYCORIS = (*CONVOLUTIONS, "preset", "use_tucker", "rank_dropout_scale", "train_norm")
OF_LOCON = (*OF_LYCORIS, "bypass_mode", "dora_wd", "use_scalar")
PASSED_ON: Mapping[str, tuple[str, ...]] = {
    "Standard": _BLOCKS, "LoRA-FA": _BLOCKS, "Kohya LoCon": (*_BLOCKS, *CONVOLUTIONS), "LoCon": OF_LOCON,
    "Kohya DyLoRA": (*_BLOCKS, *CONVOLUTIONS, "unit"), "Kohya LoHa": (*CONVOLUTIONS, "use_tucker"),
    "Kohya LoKr": (*CONVOLUTIONS, "use_tucker", "factor"), f"{LYCORIS}iA3": (*OF_LYCORIS, "train_on_input"),
    f"{LYCORIS}LoCon": OF_LOCON, f"{LYCORIS}LoHa": OF_LOCON,
    f"{LYCORIS}LoKr": (*OF_LOCON, "factor", "use_cp", "decompose_both"),
    f"{LYCORIS}Diag-OFT": (*OF_LYCORIS, "constrain", "constraint", "rescaled"),
    f"{LYCORIS}DyLoRA": (*OF_LYCORIS, "unit", "block_size"),
}  # fmt: skip


def from_gui(content: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(options of sd-scripts, extras of the GUI) from a settings file of kohya_ss; empty fields are not stated.

    Raises:
        UserError: the additional parameters cannot be read.
    """
    renamed = {GUI_NAMES.get(name, name): value for name, value in content.items() if value not in ("", None)}
    options = {name: _parse_number_field(name, value) for name, value in renamed.items() if name in RUN}
    extras = {name: _parse_number_field(name, value) for name, value in renamed.items() if name not in RUN}
    relevant = {name for name in extras if name in CHECKBOXES or not name.startswith(_OTHER_MODELS)}
    extras = {name: value for name, value in extras.items() if name in relevant}
    _set_length(options, extras)
    if (per_cent := _number(extras.pop("lr_warmup", 0))) and not options.get("lr_warmup_steps"):
        options["lr_warmup_steps"] = per_cent / 100
    if str(extras.pop("noise_offset_type", "")).startswith("Multires"):
        for name in ("noise_offset", "noise_offset_random_strength", "adaptive_noise_scale"):
            options.pop(name, None)
    else:
        for name in ("multires_noise_iterations", "multires_noise_discount"):
            options.pop(name, None)
    if not any(_number(options.get(name)) for name in ("unet_lr", "text_encoder_lr")):
        for name in ("unet_lr", "text_encoder_lr"):  # both 0: learning_rate is for both
            options.pop(name, None)
    if (trained := _trains_text(options, extras)) is not None:
        options["train_text_encoder"] = trained
    if "LoRA_type" in extras:
        options |= _network_options(extras)
    options |= read_command_arguments(str(extras.pop("additional_parameters", "")))
    return options, extras


def from_training_toml(tables: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """(options, kind of the file in words) from a training TOML; its sections mean nothing to kohya.

    >>> from_training_toml({"a": {"seed": 1}, "b": 2})
    ({'seed': 1, 'b': 2}, 'a training TOML of kohya sd-scripts')
    """
    flat: dict[str, Any] = {}
    preset = set(tables) == {"metadata", "data"} and "name" in tables["metadata"]
    for name, value in tables.items():
        if preset and name == "metadata":
            flat |= {key: item for key, item in value.items() if key in OF_LORA_SCRIPTS}
        else:
            flat |= value if isinstance(value, dict) else {name: value}
    if preset:
        return flat, "a template of lora-scripts"
    scripts = any(name in flat for name in OF_LORA_SCRIPTS)
    return flat, "a TOML of lora-scripts" if scripts else "a training TOML of kohya sd-scripts"


def from_lora_easy(tables: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
    """(options of sd-scripts, extras of the GUI, subsets of images) from a TOML of LoRA_Easy."""
    values: dict[str, Any] = {}
    for section in tables.values():
        if isinstance(section, dict):
            for part in ("args", "dataset_args"):
                inner = section.get(part)
                values |= inner if isinstance(inner, dict) else {}
    values = {EASY_NAMES.get(name, name): value for name, value in values.items()}
    if isinstance(values.get("resolution"), list):
        values["resolution"] = ",".join(str(side) for side in values["resolution"])
    mode = tables.get("train_mode", {})
    if isinstance(mode, dict) and "train_mode" in mode:
        values["train_mode"] = mode["train_mode"]
    if values.get("train_mode", "lora") == "lora":
        algorithm = isinstance(values.get("network_args"), dict) and "algo" in values["network_args"]
        values.setdefault("network_module", "lycoris.kohya" if algorithm else "networks.lora")
    gui = {name for name, option in KOHYA_OPTIONS.items() if option.part == "gui"}
    subsets = tables.get("subsets", [])
    return (
        {name: value for name, value in values.items() if name not in gui},
        {name: value for name, value in values.items() if name in gui},
        [subset for subset in subsets if isinstance(subset, dict)] if isinstance(subsets, list) else [],
    )


def read_command_arguments(text: str) -> dict[str, Any]:
    """Parse options from the text of a command line.

    >>> read_command_arguments('--debiased_estimation_loss --log_prefix=xl --optimizer_args "a=1" "b=2"')
    {'debiased_estimation_loss': True, 'log_prefix': 'xl', 'optimizer_args': ['a=1', 'b=2']}

    Raises:
        UserError: a quote is not closed.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(
            f"additional_parameters '{text}' cannot be read: {str(error).lower()}.", code="invalid-syntax"
        ) from None
    given: dict[str, list[str]] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            given[name] = [value] if equals else []
        elif name:
            given[name].append(word)
    return {name: _parse_argument(name, values) for name, values in given.items()}


def _parse_argument(name: str, values: list[str]) -> Any:
    if name in RUN and RUN[name].type.endswith("list"):
        return values
    return True if not values else parse_value(values[0]) if len(values) == 1 else values


def _set_length(options: dict[str, Any], extras: dict[str, Any]) -> None:
    """Set the length as kohya_ss does: max_train_epochs, else max_train_steps, else its own epoch; 0 is not stated."""
    for name in ("max_train_epochs", "max_train_steps"):
        if name in options and not options[name]:
            del options[name]
    if "epoch" in extras and not {"max_train_epochs", "max_train_steps"} & set(options):
        options["max_train_epochs"] = int(_number(extras.pop("epoch")))


def _network_options(extras: dict[str, Any]) -> dict[str, Any]:
    """Network options that kohya_ss passes on for the type of LoRA: network_module and network_args."""
    kind = str(extras["LoRA_type"])
    passed = {*PASSED_ON.get(kind, OF_LYCORIS), *_EVERY}
    names = [
        name for name in extras if name in passed and name in KOHYA_OPTIONS and KOHYA_OPTIONS[name].part == "network"
    ]
    values = {name: extras.pop(name) for name in names}
    arguments = {name: value for name, value in values.items() if not KOHYA_OPTIONS[name].is_default(value)}
    if kind.startswith(LYCORIS):
        arguments["algo"] = kind.removeprefix(LYCORIS).lower()
        if (preset := extras.pop("LyCORIS_preset", None)) not in (None, "", "full"):
            arguments["preset"] = preset
    if kind in ("Standard", "Kohya LoCon", "LoCon", f"{LYCORIS}LoCon"):
        del extras["LoRA_type"]  # network_module says the same
    module = "lycoris.kohya" if kind.startswith(LYCORIS) else MODULES.get(kind, "networks.lora")
    return {"network_module": module} | ({"network_args": arguments} if arguments else {})


def _trains_text(options: Mapping[str, Any], extras: Mapping[str, Any]) -> bool | None:
    """Whether kohya_ss' DreamBooth, which has no switch for it, trains text encoders; None for other settings.

    For SD 1.5 and 2 its program always trains the text encoder, for SDXL only where a learning rate is given.
    """
    if "LoRA_type" in extras or "train_text_encoder" in options or "stop_text_encoder_training" not in options:
        return None
    if extras.get("sdxl") is True:
        return any(_number(options.get(name)) > 0 for name in ("learning_rate_te1", "learning_rate_te2"))
    return True


def _parse_number_field(name: str, value: Any) -> Any:
    """Parse a number that the GUI keeps as text, or as false where the field is empty."""
    if name not in KOHYA_OPTIONS or KOHYA_OPTIONS[name].type not in _NUMBERS:
        return value
    if value is False:
        return 0
    number = parse_value(value) if isinstance(value, str) else value
    whole = KOHYA_OPTIONS[name].type == "int" and isinstance(number, float) and number.is_integer()
    return int(number) if whole else number


def _number(value: Any) -> float:
    parsed = parse_value(value) if isinstance(value, str) else value
    return float(parsed) if isinstance(parsed, int | float) else 0.0
