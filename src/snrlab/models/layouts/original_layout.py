"""Tensor names in single files (the layout of the original SD 1.5, 2 and XL programs) and in diffusers.

Each network of diffusers has a counterpart there whose names follow from the config by rule:

    UNet             down_blocks.I.resnets.J       <->  input_blocks.N.0
    autoencoder      decoder.up_blocks.I.resnets.J <->  decoder.up.(last - I).block.J
    text encoder     the same names in SD 1.5 and for SDXL's first one; OpenCLIP's in SD 2 and for SDXL's second one,
                     where q, k and v are one matrix and the text projection is transposed

The maps are bijections: every tensor is saved under the name it was loaded from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from snrlab.core.errors import UserError
from snrlab.model_files.families import Family
from snrlab.models.layouts.open_clip_layout import open_clip_tensors
from snrlab.models.layouts.tensor_layout import StoredTensor

PREFIXES: dict[Family, dict[str, str]] = {
    "sd1": {"text_encoder": "cond_stage_model.transformer."},
    "sd2": {"text_encoder": "cond_stage_model.model."},
    "sdxl": {
        "text_encoder": "conditioner.embedders.0.transformer.",
        "text_encoder_2": "conditioner.embedders.1.model.",
    },
}
for _parts in PREFIXES.values():
    _parts |= {"unet": "model.diffusion_model.", "vae": "first_stage_model."}

UNET_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
UNET_ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
VAE_RESNET = {"conv_shortcut": "nin_shortcut"}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def layout(part: str, names: Iterable[str], config: Mapping[str, Any], family: Family) -> list[StoredTensor]:
    """All tensors of a network as a single file of the family stores them.

    Args:
        part: `unet`, `vae`, `text_encoder` or `text_encoder_2`.
        names: names of the network's tensors (its state dict).
        config: config of the network.
        family: family of the model.
    """
    prefix = PREFIXES[family][part]
    if part == "unet":
        return [_renamed(name, prefix, sai_module(name, config)) for name in names]
    if part == "vae":
        return [_vae_tensor(name, prefix, vae_module(name, config)) for name in names]
    if prefix.endswith(".model."):
        return open_clip_tensors(names, prefix)
    return [_renamed(name, prefix, "text_model." + name.removeprefix("text_model.")) for name in names]


def sai_module(path: str, unet_config: Mapping[str, Any]) -> str:
    """The original path of a module or tensor of a diffusers UNet.

    >>> sdxl = {
    ...     "layers_per_block": 2,
    ...     "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    ...     "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    ... }
    >>> sai_module("down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q", sdxl)
    'input_blocks.4.1.transformer_blocks.0.attn1.to_q'
    >>> sai_module("up_blocks.0.upsamplers.0.conv", sdxl)
    'output_blocks.2.2.conv'

    Raises:
        UserError: no such module in a UNet of this config.
    """
    return _rename(path, _unet_modules(unet_config), "a UNet of this family")


def diffusers_module(path: str, unet_config: Mapping[str, Any]) -> str:
    """The inverse of `sai_module`.

    >>> sd1 = {
    ...     "layers_per_block": 2,
    ...     "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    ...     "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    ... }
    >>> diffusers_module("output_blocks.2.1.conv", sd1)
    'up_blocks.0.upsamplers.0.conv'

    Raises:
        UserError: no such module in a UNet of this config.
    """
    return _rename(
        path, {original: module for module, original in _unet_modules(unet_config).items()}, "a UNet of this family"
    )


def vae_module(path: str, vae_config: Mapping[str, Any]) -> str:
    """The original path of a module or tensor of a diffusers autoencoder.

    >>> vae_module("decoder.up_blocks.0.resnets.1.conv1", {"block_out_channels": [128, 256, 512, 512]})
    'decoder.up.3.block.1.conv1'

    Raises:
        UserError: no such module in an autoencoder of this config.
    """
    return _rename(path, _vae_modules(len(vae_config["block_out_channels"])), "an autoencoder of this family")


def _rename(path: str, modules: Mapping[str, str], owner: str) -> str:
    """Replace the longest prefix of the path that is a known module."""
    head, rest = path, ""
    while head not in modules:
        head, dot, last = head.rpartition(".")
        if not dot:
            raise UserError(f"'{path}' is not part of {owner}.", code="unknown-name")
        rest = f".{last}{rest}"
    return modules[head] + rest


def _unet_modules(config: Mapping[str, Any]) -> dict[str, str]:
    return _unet_rule(
        _per_block(config["layers_per_block"], len(config["down_block_types"])),
        tuple("CrossAttn" in kind for kind in config["down_block_types"]),
        tuple("CrossAttn" in kind for kind in config["up_block_types"]),
    )


def _per_block(layers: int | Sequence[int], blocks: int) -> tuple[int, ...]:
    return (layers,) * blocks if isinstance(layers, int) else tuple(layers)


@cache
def _unet_rule(layers: tuple[int, ...], down: tuple[bool, ...], up: tuple[bool, ...]) -> dict[str, str]:
    """Original names of a UNet's modules: its input blocks and output blocks are numbered consecutively.

    An input block is one layer or one downsampler; an output block is a layer, its attention and a following upsampler.
    """
    modules, number = dict(UNET_ENDS), 1
    for i, (count, attention) in enumerate(zip(layers, down, strict=True)):
        for j in range(count):
            modules[f"down_blocks.{i}.resnets.{j}"] = f"input_blocks.{number}.0"
            if attention:
                modules[f"down_blocks.{i}.attentions.{j}"] = f"input_blocks.{number}.1"
            number += 1
        if i < len(layers) - 1:
            modules[f"down_blocks.{i}.downsamplers.0.conv"] = f"input_blocks.{number}.0.op"
            number += 1
    number = 0
    for i, (count, attention) in enumerate(zip(reversed(layers), up, strict=True)):
        for j in range(count + 1):
            modules[f"up_blocks.{i}.resnets.{j}"] = f"output_blocks.{number}.0"
            if attention:
                modules[f"up_blocks.{i}.attentions.{j}"] = f"output_blocks.{number}.1"
            number += 1
        if i < len(layers) - 1:
            modules[f"up_blocks.{i}.upsamplers.0"] = f"output_blocks.{number - 1}.{1 + attention}"
    return modules | _inside(modules, ".resnets.", UNET_RESNET)


@cache
def _vae_modules(blocks: int) -> dict[str, str]:
    modules = {"quant_conv": "quant_conv", "post_quant_conv": "post_quant_conv"}
    for side, way in (("encoder", "down"), ("decoder", "up")):
        modules |= {f"{side}.{name}": f"{side}.{name}" for name in ("conv_in", "conv_out")}
        modules[f"{side}.conv_norm_out"] = f"{side}.norm_out"
        modules |= {f"{side}.mid_block.resnets.{j}": f"{side}.mid.block_{j + 1}" for j in (0, 1)}
        modules[f"{side}.mid_block.attentions.0"] = f"{side}.mid.attn_1"
        for i in range(blocks):
            level = i if side == "encoder" else blocks - 1 - i
            modules[f"{side}.{way}_blocks.{i}.{way}samplers.0"] = f"{side}.{way}.{level}.{way}sample"
            # more layers than any block has: a config counts them differently for the two sides
            modules |= {f"{side}.{way}_blocks.{i}.resnets.{j}": f"{side}.{way}.{level}.block.{j}" for j in range(8)}
    return modules | _inside(modules, ".resnets.", VAE_RESNET) | _inside(modules, ".attentions.", VAE_ATTENTION)


def _inside(modules: Mapping[str, str], kind: str, names: Mapping[str, str]) -> dict[str, str]:
    """Submodules of each module of a kind whose names differ between the two layouts."""
    chosen = {module: original for module, original in modules.items() if kind in module}
    return {f"{module}.{a}": f"{original}.{b}" for module, original in chosen.items() for a, b in names.items()}


def _renamed(name: str, prefix: str, original: str) -> StoredTensor:
    return StoredTensor(prefix + original, (name,))


def _vae_tensor(name: str, prefix: str, original: str) -> StoredTensor:
    matrix = ".attentions." in name and name.endswith("weight") and "group_norm" not in name
    return StoredTensor(prefix + original, (name,), "convolution" if matrix else "same")
