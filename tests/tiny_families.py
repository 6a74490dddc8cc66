"""Tiny models of the three families: the shipped configs, but narrow; random weights; the real tokenizer."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from snrlab.model_files import families
from snrlab.model_files.families import Family
from snrlab.models.clip import END, clip_tokenizer
from snrlab.models.components import Components
from snrlab.models.storage.save_folder import save_folder

WIDTH = {"text_encoder": 16, "text_encoder_2": 24}
LAYERS = 4


def family(name: Family, prediction_type: str = "epsilon", **scheduler: Any) -> Components:
    """A random model of a family; the same weights each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        networks = {part: _network(name, part) for part in families.PARTS[name]}
    tokenizers = {"tokenizer": clip_tokenizer("!" if name == "sd2" else END)}
    if name == "sdxl":
        tokenizers["tokenizer_2"] = clip_tokenizer("!")
    config = families.config(name, "scheduler") | {"prediction_type": prediction_type, **scheduler}
    return Components(**networks, **tokenizers, scheduler_config=config, label=f"tiny-{name}")


def save_family(folder: Path, name: Family, prediction_type: str = "epsilon", **scheduler: Any) -> Path:
    """The same as a diffusers folder, with a tokenizer in the two files of the families' own folders."""
    made = Path(_saved(name, prediction_type, json.dumps(scheduler)).name)
    return Path(shutil.copytree(made, folder, dirs_exist_ok=True))


@cache
def _saved(name: Family, prediction_type: str, scheduler: str) -> TemporaryDirectory[str]:
    kept = TemporaryDirectory(prefix=f"tiny-{name}-")
    save_folder(family(name, prediction_type, **json.loads(scheduler)), Path(kept.name), torch.float32)
    for file in Path(kept.name).glob("tokenizer*/tokenizer.json"):  # the same again, and three times as long to read
        file.unlink()
    return kept


def _network(name: Family, part: str) -> nn.Module:
    config = families.config(name, part)
    match part:
        case "unet":
            return UNet2DConditionModel.from_config(config | _unet(name, config))
        case "vae":
            narrow = {"block_out_channels": (4, 4, 8, 8), "norm_num_groups": 2, "layers_per_block": 1}
            return AutoencoderKL.from_config(config | narrow)
    width = WIDTH[part] if name == "sdxl" else 16
    narrow = {"hidden_size": width, "intermediate_size": 32, "num_hidden_layers": LAYERS, "num_attention_heads": 2}
    kind = CLIPTextModelWithProjection if part == "text_encoder_2" else CLIPTextModel
    return kind(CLIPTextConfig(**(config | narrow | {"projection_dim": width})))


def _unet(name: Family, config: dict[str, Any]) -> dict[str, Any]:
    heads = config["attention_head_dim"]  # one number for all blocks, or one each
    narrow = {
        "block_out_channels": (8, 16, 16, 16)[: len(config["block_out_channels"])],
        "attention_head_dim": 2 if isinstance(heads, int) else [2, 4, 4, 4][: len(heads)],
        "norm_num_groups": 4, "layers_per_block": 1, "cross_attention_dim": 16,
    }  # fmt: skip
    if name == "sdxl":
        narrow |= {
            "cross_attention_dim": sum(WIDTH.values()), "transformer_layers_per_block": [1, 1, 2],
            "addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 6 * 8 + WIDTH["text_encoder_2"],
        }  # fmt: skip
    return narrow
