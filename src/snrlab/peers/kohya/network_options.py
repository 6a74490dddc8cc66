"""Import and export of kohya's options for the method: all weights or a LoRA, its layers and ranks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from snrlab.config.option_tables.kohya import KOHYA_OPTIONS
from snrlab.config.run import RunConfig
from snrlab.config.sections.lora import LoraConfig
from snrlab.core.errors import UserError
from snrlab.peers.conversion import Conversion, Dropped, shown
from snrlab.peers.kohya.blocks import BLOCKS, export_blocks, import_blocks
from snrlab.peers.value_rules import carry

OF_FULL_TRAINING = (
    "train_text_encoder", "learning_rate_te", "learning_rate_te1", "learning_rate_te2", "block_lr",
    "fused_optimizer_groups", "no_token_padding", "diffusers_xformers", "in_json",
)  # fmt: skip
FULL_FORMATS = {"safetensors": "single_file", "ckpt": "single_file", "diffusers": "diffusers",
                "diffusers_safetensors": "diffusers"}  # fmt: skip
PRESETS = {"full": ["attention", "feed_forward", "convolution"], "attn-mlp": ["attention", "feed_forward"],
           "attn-only": ["attention"]}  # fmt: skip
XL = ("sdxl", "sd_xl", "stable-diffusion-xl", "-xl-")  # in names of models
_LARGEST = 1024  # rank that lora.rank may have
OWN_RANK = LoraConfig.model_fields["rank"].default
SIMPLE_ARGUMENTS = ("rank_dropout", "module_dropout", "loraplus_lr_ratio")


def is_sdxl(conversion: Conversion) -> bool:
    """Whether the settings are for SDXL, as far as can be seen from them."""
    version = str(conversion.options.get("base_model_version") or "")
    for known, is_xl in (("sdxl", True), ("sd_v", False)):
        if version.startswith(known):
            return is_xl
    for switch in ("sdxl", "sdxl_checkbox"):  # of the window, which also keeps the fields of models that are not chosen
        if isinstance(conversion.options.get(switch), bool):
            return bool(conversion.options[switch])
    marks = ("no_half_vae", "cache_text_encoder_outputs", "disable_mmap_load_safetensors",
             "learning_rate_te1", "learning_rate_te2")  # fmt: skip
    rates = conversion.options.get("text_encoder_lr")
    names = str(conversion.options.get("pretrained_model_name_or_path"))
    return (
        any(conversion.options.get(mark) for mark in marks)
        or (isinstance(rates, list) and len(rates) > 1)
        or any(word in names.lower() for word in XL)
    )


def is_sdxl_run(config: RunConfig) -> bool:
    """Whether a run is for SDXL, as far as can be seen from its file."""
    return config.train.text_encoder_2 or any(word in (config.model.path or "").lower() for word in XL)


def trains_lora(conversion: Conversion) -> bool:
    """Whether a LoRA is trained; settings without a network are for a kohya program that trains all weights."""
    if any(conversion.has(name) for name in ("network_module", "network_dim", "network_args", "network_alpha")):
        return True
    names_model_and_images = conversion.has("pretrained_model_name_or_path") and any(
        conversion.has(name) for name in ("train_data_dir", "dataset_config", "in_json")
    )
    return not names_model_and_images and not any(conversion.has(name) for name in OF_FULL_TRAINING)


def import_method(conversion: Conversion) -> None:
    """Import the training method, the number format of the weights, and the format of the result."""
    if trains_lora(conversion):
        conversion.drop("network_module", "a LoRA is what is trained by default", severity="harmless")
        same = str(conversion.options.get("save_model_as", "safetensors")) == "safetensors"
        conversion.drop(
            "save_model_as", "a LoRA is always saved as safetensors", severity="harmless" if same else "lost"
        )
        conversion.drop("full_bf16", "a LoRA's own weights stay in fp32 here, which costs little")
        return
    reason = (
        "No network is named, so all weights are trained, as by kohya's train_db.py, fine_tune.py or sdxl_train.py."
    )
    conversion.set("train.method", "full", reason=reason)
    if conversion.value("full_bf16"):
        conversion.set("train.weights", "bf16", "full_bf16")
    conversion.set("output.format", FULL_FORMATS.get(str(conversion.value("save_model_as"))), "save_model_as")


def import_network(conversion: Conversion) -> None:
    """Import [lora] from network_dim, network_alpha and network_args."""
    arguments = conversion.options.get("network_args")
    network_args = dict(arguments) if isinstance(arguments, Mapping) else {}
    conversion.mark_used("network_args", "network_dim", "network_alpha")
    conversion.drop("LoRA_type", f"{KOHYA_OPTIONS['LoRA_type'].counterpart}; a LoRA of this rank is written instead")
    rank = int(conversion.value("network_dim") or 4)
    if rank > _LARGEST:
        for name in ("network_dim", "network_alpha"):
            conversion.drop(
                name, f"a rank of {rank} asks LyCORIS for whole matrices; choose lora.rank, here {OWN_RANK}"
            )
    else:
        conversion.set("lora.rank", rank, "network_dim")
        conversion.set("lora.alpha", float(conversion.value("network_alpha") or 0) or None, "network_alpha")
    inner = Conversion(network_args, KOHYA_OPTIONS, "kohya")
    lycoris = str(conversion.options.get("network_module", "")).startswith("lycoris")
    _import_layers(inner, lycoris, conversion)
    for name in SIMPLE_ARGUMENTS:
        carry(inner, name)
    if inner.value("dora_wd") in (True, "True"):
        inner.set("lora.dora", True, "dora_wd")
    for name, (field, kind) in BLOCKS.items():
        if inner.has(name):
            import_blocks(inner, name, field, kind, sdxl=is_sdxl(conversion))
    inner.drop_unused("ignores it or stops at it")
    conversion.lines += inner.lines
    conversion.dropped += [
        replace(item, option=f"network_args: {item.option}") for item in inner.dropped if item.severity != "default"
    ]


def _import_layers(inner: Conversion, lycoris: bool, outer: Conversion) -> None:
    inner.mark_used("preset")
    algorithm = str(inner.value("algo"))
    inner.mark_used("algo")
    if algorithm not in ("lora", "locon") and not outer.has("LoRA_type"):
        inner.drop("algo", f"{KOHYA_OPTIONS['algo'].counterpart}; a LoRA of this rank is written instead")
    preset = str(inner.value("preset"))
    if lycoris and preset in PRESETS:
        inner.set("lora.layers", PRESETS[preset], "preset", reason=f"LyCORIS' preset {preset}.")
    elif lycoris:
        inner.drop("preset")
    if inner.has("conv_dim") and int(inner.value("conv_dim")) > _LARGEST:
        for name in ("conv_dim", "conv_alpha"):
            inner.drop(
                name,
                "LyCORIS takes a rank this large for whole matrices; convolutions get the rank of the other layers",
            )
    elif inner.has("conv_dim") and not (lycoris and preset != "full"):
        if not lycoris:
            inner.set("lora.layers", PRESETS["full"], "conv_dim", reason="With conv_dim convolutions are trained too.")
        inner.set("lora.conv_rank", int(inner.value("conv_dim")), "conv_dim")
        alpha = float(inner.value("conv_alpha")) if inner.has("conv_alpha") or not lycoris else None
        inner.set("lora.conv_alpha", alpha or None, "conv_alpha")
    else:
        inner.drop("conv_dim", "the preset has no convolutions")
        inner.drop("conv_alpha", "no convolutions are trained, as there is no conv_dim")


def export_network(config: RunConfig) -> tuple[dict[str, Any], list[Dropped]]:
    """Export [lora], or the full training: (kohya's options, dropped fields)."""
    lora = config.lora
    dropped: list[Dropped] = []
    if config.train.method == "full":
        options: dict[str, Any] = {"full_bf16": True} if config.train.weights == "bf16" else {}
        if config.output.format is not None:
            options["save_model_as"] = "safetensors" if config.output.format == "single_file" else "diffusers"
        return options, []
    arguments: dict[str, Any] = {}
    if "convolution" in lora.layers:
        arguments["conv_dim"] = lora.conv_rank or lora.rank
        arguments["conv_alpha"] = lora.conv_alpha or lora.alpha or float(arguments["conv_dim"])
    if lora.dora:
        preset = next((name for name, layers in PRESETS.items() if layers == list(lora.layers)), None)
        arguments |= {"algo": "lora", "preset": preset or "full", "dora_wd": True}
        if preset is None:
            dropped.append(Dropped(f"lora.layers = {shown(lora.layers)}", "LyCORIS has no preset for it"))
    missing = [layer for layer in ("attention", "feed_forward") if layer not in lora.layers]
    if missing and not lora.dora:
        dropped.append(
            Dropped(f"lora.layers = {shown(lora.layers)}", f"kohya always adapts {' and '.join(missing)} too")
        )
    for name, value in (("rank_dropout", lora.rank_dropout), ("module_dropout", lora.module_dropout),
                        ("loraplus_lr_ratio", lora.loraplus_ratio)):  # fmt: skip
        if value:
            arguments[name] = value
    for name, (field, _) in BLOCKS.items():
        if table := getattr(lora, field.partition(".")[2]):
            numbers = export_blocks(table, lora, name)
            if numbers is None:
                dropped.append(Dropped(f"{field} = {shown(table)}", "kohya's list of blocks cannot say this"))
            else:
                arguments[name] = numbers
    options = {
        "network_module": "lycoris.kohya" if lora.dora else "networks.lora",
        "network_dim": lora.rank,
        "network_alpha": lora.alpha or float(lora.rank),
        "network_dropout": lora.dropout or None,
        "network_args": [f"{name}={value}" for name, value in arguments.items()],
        "scale_weight_norms": lora.max_norm,
        "network_weights": lora.start_from,
    }
    return options, dropped


def refuse_other_training(conversion: Conversion) -> None:
    """Refuse settings for a kind of training that is not supported (UserError)."""
    if conversion.has("token_string"):
        raise UserError(
            "token_string belongs to Textual Inversion: embeddings are not trained here.", code="not-supported"
        )
    if conversion.options.get("train_inpainting") is True:
        raise UserError("train_inpainting is true: inpainting models are not trained here.", code="not-supported")
    if conversion.options.get("train_mode", "lora") not in ("lora", "full"):
        raise UserError(
            f"train_mode is {conversion.options['train_mode']}: embeddings are not trained here.", code="not-supported"
        )
