"""LoRA adapters through peft, and their file in kohya's key layout.

lora_unet_<module path with _>.lora_down.weight   [rank, in], of a convolution [rank, in, h, w]
lora_unet_<...>.lora_up.weight                    [out, rank], of a convolution [out, rank, 1, 1]
lora_unet_<...>.alpha                             scalar; scale = alpha / rank
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from peft import LoraConfig
from torch import Tensor, nn

from snrlab.config.lora import LoraLayers
from snrlab.models.components import Components

# module names by layer kind; kohya's plain LoRA is attention and feed_forward, its LoCon has convolution too
UNET_TARGETS: dict[LoraLayers, str] = {
    "attention": r"to_q|to_k|to_v|to_out\.0",
    "feed_forward": r"ff\.net\.0\.proj|ff\.net\.2|proj_in|proj_out",
    "convolution": r"conv1|conv2|conv_shortcut|time_emb_proj|(down|up)samplers\.\d+\.conv",
}
TEXT_TARGETS: dict[LoraLayers, str] = {"attention": r"[qkv]_proj|out_proj", "feed_forward": "fc1|fc2"}


def add_lora(
    components: Components, *, rank: int, alpha: float, layers: Sequence[LoraLayers], text_encoder: bool, seed: int
) -> None:
    """Put trainable adapters on layers of the UNet and, if asked, of the text encoder.

    The down matrix starts at Kaiming-uniform noise drawn from the seed, the up matrix at 0, so
    that the model is unchanged at first. The caller's random state is untouched.
    """
    targets = [(components.unet, _pattern(UNET_TARGETS, layers))]
    if text_encoder:
        targets.append((components.text_encoder, _pattern(TEXT_TARGETS, layers)))
    # peft initialises from torch's global generator: lend it our seed, then give it back
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for network, modules in targets:
            network.add_adapter(LoraConfig(r=rank, lora_alpha=alpha, target_modules=modules))
    for _, parameter in lora_parameters(components):
        parameter.data = parameter.data.float()


def _pattern(targets: dict[LoraLayers, str], layers: Sequence[LoraLayers]) -> str:
    """Regular expression of the names of all modules of these kinds; it matches none where there is no such kind."""
    chosen = "|".join(targets[kind] for kind in layers if kind in targets)
    return rf".*\.({chosen})" if chosen else "(?!)"


def lora_parameters(components: Components) -> Iterator[tuple[str, nn.Parameter]]:
    """Adapter weights by name, in a fixed order."""
    for part in ("unet", "text_encoder"):
        for name, parameter in getattr(components, part).named_parameters():
            if ".lora_" in name:
                yield f"{part}.{name}", parameter


def kohya_state_dict(components: Components, *, alpha: float, dtype: torch.dtype) -> dict[str, Tensor]:
    """The adapters under kohya's names, on the CPU."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in lora_parameters(components):
        module, _, matrix = name.partition(".lora_")
        key = kohya_module(module)
        side = "lora_down" if matrix.startswith("A") else "lora_up"
        tensors[f"{key}.{side}.weight"] = parameter.detach().to("cpu", dtype).contiguous()
        tensors[f"{key}.alpha"] = torch.tensor(alpha, dtype=dtype)
    return dict(sorted(tensors.items()))


def kohya_module(module: str) -> str:
    """Kohya's name of a module.

    >>> kohya_module("unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0")
    'lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_out_0'
    >>> kohya_module("text_encoder.encoder.layers.0.self_attn.q_proj")
    'lora_te_text_model_encoder_layers_0_self_attn_q_proj'
    """
    part, _, path = module.partition(".")
    if part == "text_encoder" and not path.startswith("text_model."):
        path = f"text_model.{path}"  # transformers 5 dropped the level that the format keeps
    return {"unet": "lora_unet_", "text_encoder": "lora_te_"}[part] + path.replace(".", "_")
