"""Kohya's names for the layers of a LoRA: from a layer's path and back, by rule.

A path is the name of the network's folder and the layer's name in it, as diffusers and the CLIP format have them:
`unet.mid_block.attentions.0.proj_in`, `text_encoder.text_model.encoder.layers.0.mlp.fc1`. Kohya's name is a prefix
for the network and the layer's name with `_` for every `.`; for SDXL the UNet's layers are named as in the original
layout (`input_blocks_4_1_...`), and the text encoders have a number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from snrlab.core.errors import UserError
from snrlab.model_files.families import Family
from snrlab.models.layouts.original_layout import diffusers_module, sai_module

_PREFIXES = {"unet": "lora_unet_", "text_encoder": "lora_te_"}
SDXL_PREFIXES = {"unet": "lora_unet_", "text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}
_PARTS = {prefix: part for table in (_PREFIXES, SDXL_PREFIXES) for part, prefix in table.items()}

# parts of a layer's name that contain `_` themselves; every other `_` stands for a `.`
_WORDS = (
    "down_blocks", "mid_block", "up_blocks", "input_blocks", "middle_block", "output_blocks", "transformer_blocks",
    "proj_in", "proj_out", "to_q", "to_k", "to_v", "to_out", "conv_in", "conv_out", "conv_shortcut", "time_emb_proj",
    "in_layers", "out_layers", "emb_layers", "skip_connection", "time_embedding", "add_embedding", "time_embed",
    "label_emb", "linear_1", "linear_2", "text_model", "text_projection", "self_attn", "q_proj", "k_proj", "v_proj",
    "out_proj",
)  # fmt: skip
_WORD = re.compile(rf"(?:{'|'.join(sorted(_WORDS, key=len, reverse=True))}|[^_]+)(?=_|$)")
_ORIGINAL = ("input_blocks.", "middle_block.", "output_blocks.", "time_embed.", "label_emb.", "out.")


def kohya_name(path: str, family: Family, unet_config: Mapping[str, Any]) -> str:
    """Kohya's name of a layer.

    Args:
        path: network and layer, with the level `text_model` that transformers 5 dropped and the format keeps.
        family: family of the model; SDXL has its own names.
        unet_config: config of the model's UNet, whose blocks SDXL's names count.

    >>> kohya_name("unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0", "sd1", {})
    'lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_out_0'
    >>> kohya_name("text_encoder.text_model.encoder.layers.0.self_attn.q_proj", "sdxl", {})
    'lora_te1_text_model_encoder_layers_0_self_attn_q_proj'
    """
    part, _, layer = path.partition(".")
    if family == "sdxl" and part == "unet":
        layer = sai_module(layer, unet_config)
    return (SDXL_PREFIXES if family == "sdxl" else _PREFIXES)[part] + layer.replace(".", "_")


def path_of_kohya_name(name: str, unet_config: Mapping[str, Any]) -> str:
    """The path of the layer with this name; a UNet's name may be in the original layout or in diffusers'.

    Raises:
        UserError: it is not one of kohya's names.

    >>> path_of_kohya_name("lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_out_0", {})
    'unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0'
    >>> path_of_kohya_name("lora_te2_text_model_encoder_layers_0_self_attn_q_proj", {})
    'text_encoder_2.text_model.encoder.layers.0.self_attn.q_proj'
    """
    prefix = next((p for p in _PARTS if name.startswith(p)), None)
    if prefix is None:
        raise UserError(
            f"'{name}' is not the name of a LoRA's layer; such names start with {', '.join(_PARTS)}.",
            code="unknown-name",
        )
    layer = ".".join(_WORD.findall(name.removeprefix(prefix)))
    if layer.startswith(_ORIGINAL):
        layer = diffusers_module(layer, unet_config)
    return f"{_PARTS[prefix]}.{layer}"
