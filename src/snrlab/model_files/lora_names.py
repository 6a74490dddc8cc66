"""Tensor names of LoRA files in every layout in use: layer, role and kind of adapter of each tensor. Needs no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass

KOHYA_ROLES = {"lora_down.weight": "down", "lora_up.weight": "up", "alpha": "alpha", "dora_scale": "magnitude"}
ROLES = KOHYA_ROLES | {
    "lora_A.weight": "down",
    "lora_B.weight": "up",
    "lora_magnitude_vector": "rows",
    "lora_magnitude_vector.weight": "rows",
    "lora.down.weight": "down",  # diffusers' older layouts
    "lora.up.weight": "up",
    "lora_linear_layer.down.weight": "down",
    "lora_linear_layer.up.weight": "up",
}
KOHYA = re.compile(rf"(lora_[^.]+)\.({'|'.join(map(re.escape, KOHYA_ROLES))})")
PEFT = re.compile(rf"(?P<layer>.+?)[._](?P<role>{'|'.join(map(re.escape, ROLES))})")
# adapters of other kinds, by a regular expression for the end of a tensor's name; none of them can be trained here
OTHER_ADAPTERS = {
    r"hada_\w+": "LoHa", r"lokr_\w+": "LoKr", r"oft_\w+": "OFT", r"boft_\w+": "OFT", r"(a1|a2|b1|b2)\.weight": "GLoRA",
    r"(diff|diff_b)": "a difference of weights", r"(w_norm|b_norm)": "a difference of weights",
    r"lora_mid\.weight": "LoCon in Tucker form", r"on_input": "IA3",
}  # fmt: skip
_OTHER = re.compile(rf"(?P<layer>.+?)\.(?P<role>{'|'.join(OTHER_ADAPTERS)})")
_BLOCK = re.compile(
    r"(down_blocks_\d+|mid_block|up_blocks_\d+|input_blocks_\d+|middle_block|output_blocks_\d+|layers_\d+)(?:_|$)"
)
_PARTS = {
    "lora_unet_": "unet", "unet_": "unet", "lora_te1_": "text_encoder", "lora_te2_": "text_encoder_2",
    "lora_te_": "text_encoder", "text_encoder_2_": "text_encoder_2", "text_encoder_": "text_encoder",
    "lora_te3_": "text_encoder_3", "transformer_": "transformer",
}  # fmt: skip


@dataclass(frozen=True)
class TensorPlace:
    """Place of an adapter's tensor: its layer and its role there.

    Attributes:
        layer: name of the layer, as the file writes it.
        role: `down`, `up`, `alpha`, `magnitude`, `rows`, or the end of the name for adapters of other kinds.
        kind: kind of adapter, LoRA or one of `OTHER_ADAPTERS`.
        layout: kohya or peft.
    """

    layer: str
    role: str
    kind: str
    layout: str

    @property
    def part(self) -> str:
        """Network that the layer belongs to; `other` if the name does not say."""
        name = self.layer.replace(".", "_")
        return next((part for prefix, part in _PARTS.items() if name.startswith(prefix)), "other")

    @property
    def block(self) -> str:
        """Block of the network that the layer belongs to; `-` if the name has none."""
        match = _BLOCK.search(self.layer.replace(".", "_"))
        return match[1] if match else "-"


def place(name: str) -> TensorPlace | None:
    """Parse a tensor's name; None if no adapter has such a name.

    >>> place("lora_unet_mid_block_attentions_0_proj_in.lora_down.weight")
    TensorPlace(layer='lora_unet_mid_block_attentions_0_proj_in', role='down', kind='LoRA', layout='kohya')
    >>> place("unet.mid_block.attentions.0.proj_in.lora_A.weight").part
    'unet'
    >>> place("lora_unet_mid_block_x.hada_w1_a").kind
    'LoHa'
    """
    if match := KOHYA.fullmatch(name):
        return TensorPlace(match[1], ROLES[match[2]], "LoRA", "kohya")
    if match := _OTHER.fullmatch(name):
        kind = next(kind for ending, kind in OTHER_ADAPTERS.items() if re.fullmatch(ending, match["role"]))
        return TensorPlace(match["layer"], match["role"], kind, "kohya")
    if (match := PEFT.fullmatch(name)) and not name.startswith("lora_"):
        return TensorPlace(match["layer"].replace(".processor", ""), ROLES[match["role"]], "LoRA", "peft")
    return None
