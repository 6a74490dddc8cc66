"""What is trained: all weights or a LoRA, which layers, which ranks. kohya's words for it, both ways."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from snrlab.config.option_tables.kohya import KOHYA_OPTIONS
from snrlab.config.run import RunConfig
from snrlab.config.sections.lora import LoraConfig
from snrlab.core.errors import UserError
from snrlab.peers.conversion import Conversion, Dropped, shown
from snrlab.peers.kohya.blocks import BLOCKS, block_table, blocks_back
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


def is_sdxl(transfer: Conversion) -> bool:
    """Whether the settings are for SDXL, as far as they tell."""
    version = str(transfer.stated.get("base_model_version") or "")
    for known, xl in (("sdxl", True), ("sd_v", False)):
        if version.startswith(known):
            return xl
    for switch in ("sdxl", "sdxl_checkbox"):  # of the window, which also keeps the fields of models that are not chosen
        if isinstance(transfer.stated.get(switch), bool):
            return bool(transfer.stated[switch])
    marks = ("no_half_vae", "cache_text_encoder_outputs", "disable_mmap_load_safetensors",
             "learning_rate_te1", "learning_rate_te2")  # fmt: skip
    rates = transfer.stated.get("text_encoder_lr")
    names = str(transfer.stated.get("pretrained_model_name_or_path"))
    return (
        any(transfer.stated.get(mark) for mark in marks)
        or (isinstance(rates, list) and len(rates) > 1)
        or any(word in names.lower() for word in XL)
    )


def is_sdxl_run(config: RunConfig) -> bool:
    """Whether a run is of SDXL, as far as its file tells."""
    return config.train.text_encoder_2 or any(word in (config.model.path or "").lower() for word in XL)


def trains_lora(transfer: Conversion) -> bool:
    """Whether it is a LoRA that is trained; without a network a program of kohya's for all weights is meant."""
    if any(transfer.has(name) for name in ("network_module", "network_dim", "network_args", "network_alpha")):
        return True
    whole = transfer.has("pretrained_model_name_or_path") and any(
        transfer.has(name) for name in ("train_data_dir", "dataset_config", "in_json")
    )
    return not whole and not any(transfer.has(name) for name in OF_FULL_TRAINING)


def import_method(transfer: Conversion) -> None:
    """[train]: method and number format, and the format of the result."""
    if trains_lora(transfer):
        transfer.leave("network_module", "a LoRA is what is trained by default", grade="idle")
        same = str(transfer.stated.get("save_model_as", "safetensors")) == "safetensors"
        transfer.leave("save_model_as", "a LoRA is always saved as safetensors", grade="idle" if same else "lost")
        transfer.leave("full_bf16", "a LoRA's own weights stay in fp32 here, which costs little")
        return
    why = "No network is named, so all weights are trained, as by kohya's train_db.py, fine_tune.py or sdxl_train.py."
    transfer.put("train.method", "full", why=why)
    if transfer.value("full_bf16"):
        transfer.put("train.weights", "bf16", "full_bf16")
    transfer.put("output.format", FULL_FORMATS.get(str(transfer.value("save_model_as"))), "save_model_as")


def import_network(transfer: Conversion) -> None:
    """[lora] from network_dim, network_alpha and network_args."""
    arguments = transfer.stated.get("network_args")
    stated = dict(arguments) if isinstance(arguments, Mapping) else {}
    transfer.take("network_args", "network_dim", "network_alpha")
    transfer.leave("LoRA_type", f"{KOHYA_OPTIONS['LoRA_type'].here}; a LoRA of this rank is written instead")
    rank = int(transfer.value("network_dim") or 4)
    if rank > _LARGEST:
        for name in ("network_dim", "network_alpha"):
            transfer.leave(name, f"a rank of {rank} asks LyCORIS for whole matrices; choose lora.rank, here {OWN_RANK}")
    else:
        transfer.put("lora.rank", rank, "network_dim")
        transfer.put("lora.alpha", float(transfer.value("network_alpha") or 0) or None, "network_alpha")
    inner = Conversion(stated, KOHYA_OPTIONS, "kohya")
    lycoris = str(transfer.stated.get("network_module", "")).startswith("lycoris")
    _layers(inner, lycoris, transfer)
    for name in SIMPLE_ARGUMENTS:
        carry(inner, name)
    if inner.value("dora_wd") in (True, "True"):
        inner.put("lora.dora", True, "dora_wd")
    for name, (field, kind) in BLOCKS.items():
        if inner.has(name):
            block_table(inner, name, field, kind, sdxl=is_sdxl(transfer))
    inner.leave_the_rest("reads over it or stops at it")
    transfer.lines += inner.lines
    transfer.left += [
        replace(left, option=f"network_args: {left.option}") for left in inner.left if left.grade != "default"
    ]


def _layers(inner: Conversion, lycoris: bool, outer: Conversion) -> None:
    inner.take("preset")
    algorithm = str(inner.value("algo"))
    inner.take("algo")
    if algorithm not in ("lora", "locon") and not outer.has("LoRA_type"):
        inner.leave("algo", f"{KOHYA_OPTIONS['algo'].here}; a LoRA of this rank is written instead")
    preset = str(inner.value("preset"))
    if lycoris and preset in PRESETS:
        inner.put("lora.layers", PRESETS[preset], "preset", why=f"LyCORIS' preset {preset}.")
    elif lycoris:
        inner.leave("preset")
    if inner.has("conv_dim") and int(inner.value("conv_dim")) > _LARGEST:
        for name in ("conv_dim", "conv_alpha"):
            inner.leave(name, "as of network_dim; convolutions get the rank of the rest")
    elif inner.has("conv_dim") and not (lycoris and preset != "full"):
        if not lycoris:
            inner.put("lora.layers", PRESETS["full"], "conv_dim", why="With conv_dim convolutions are trained too.")
        inner.put("lora.conv_rank", int(inner.value("conv_dim")), "conv_dim")
        alpha = float(inner.value("conv_alpha")) if inner.has("conv_alpha") or not lycoris else None
        inner.put("lora.conv_alpha", alpha or None, "conv_alpha")
    else:
        inner.leave("conv_dim", "the preset has no convolutions")
        inner.leave("conv_alpha", "no convolutions are trained, as there is no conv_dim")


def network_back(config: RunConfig) -> tuple[dict[str, Any], list[Dropped]]:
    """What kohya calls it: network options of a run."""
    lora = config.lora
    left: list[Dropped] = []
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
            left.append(Dropped(f"lora.layers = {shown(lora.layers)}", "LyCORIS has no preset for it"))
    missing = [layer for layer in ("attention", "feed_forward") if layer not in lora.layers]
    if missing and not lora.dora:
        left.append(Dropped(f"lora.layers = {shown(lora.layers)}", f"kohya always adapts {' and '.join(missing)} too"))
    for name, value in (("rank_dropout", lora.rank_dropout), ("module_dropout", lora.module_dropout),
                        ("loraplus_lr_ratio", lora.loraplus_ratio)):  # fmt: skip
        if value:
            arguments[name] = value
    for name, (field, _) in BLOCKS.items():
        if table := getattr(lora, field.partition(".")[2]):
            found = blocks_back(table, lora, name)
            if found is None:
                left.append(Dropped(f"{field} = {shown(table)}", "kohya's list of blocks cannot say this"))
            else:
                arguments[name] = found
    options = {
        "network_module": "lycoris.kohya" if lora.dora else "networks.lora",
        "network_dim": lora.rank,
        "network_alpha": lora.alpha or float(lora.rank),
        "network_dropout": lora.dropout or None,
        "network_args": [f"{name}={value}" for name, value in arguments.items()],
        "scale_weight_norms": lora.max_norm,
        "network_weights": lora.start_from,
    }
    return options, left


def refuse_other_training(transfer: Conversion) -> None:
    """Refuse settings for a kind of training that is not here (UserError)."""
    if transfer.has("token_string"):
        raise UserError("token_string is of Textual Inversion: embeddings are not trained here.", code="not-supported")
    if transfer.stated.get("train_inpainting") is True:
        raise UserError("train_inpainting is true: inpainting models are not trained here.", code="not-supported")
    if transfer.stated.get("train_mode", "lora") not in ("lora", "full"):
        raise UserError(
            f"train_mode is {transfer.stated['train_mode']}: embeddings are not trained here.", code="not-supported"
        )
