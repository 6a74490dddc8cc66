"""Tensor names of OpenCLIP text encoders, as in single files of SD 2 and SDXL, where q, k and v are one matrix."""

from __future__ import annotations

from collections.abc import Iterable

from snrlab.core.errors import UserError
from snrlab.models.layouts.tensor_layout import Form, StoredTensor

OPEN_CLIP_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
OPEN_CLIP_ENDS = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
    "text_projection.weight": "text_projection",
}


def open_clip_tensors(names: Iterable[str], prefix: str) -> list[StoredTensor]:
    """The tensors of a text encoder as a file with this prefix stores them, from the names of its state dict."""
    tensors = []
    for name in names:
        path = name.removeprefix("text_model.")
        if path in OPEN_CLIP_ENDS:
            form: Form = "transposed" if path.startswith("text_projection") else "same"
            tensors.append(StoredTensor(prefix + OPEN_CLIP_ENDS[path], (name,), form))
            continue
        layer, _, inner = path.removeprefix("encoder.layers.").partition(".")
        block = f"{prefix}transformer.resblocks.{layer}"
        module, _, kind = inner.rpartition(".")
        if module in OPEN_CLIP_LAYER:
            tensors.append(StoredTensor(f"{block}.{OPEN_CLIP_LAYER[module]}.{kind}", (name,)))
        elif module == "self_attn.q_proj":
            parts = tuple(name.replace("q_proj", f"{letter}_proj") for letter in "qkv")
            tensors.append(StoredTensor(f"{block}.attn.in_proj_{kind}", parts))
        elif module not in ("self_attn.k_proj", "self_attn.v_proj"):
            raise UserError(f"'{name}' is not part of a CLIP text encoder.", code="unknown-name")
    return tensors
