"""LoRA files: read in any common layout, written in kohya's or peft's.

kohya   <kohya name>.lora_down.weight  .lora_up.weight  .alpha  .dora_scale
peft    <network>.<layer>.lora_A.weight  .lora_B.weight  .lora_magnitude_vector
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file
from torch import Tensor

from snrlab.core.errors import UserError
from snrlab.files.writing import write_atomically
from snrlab.model_files import families
from snrlab.model_files.families import Family
from snrlab.model_files.header import read_header
from snrlab.model_files.lora_names import KOHYA, PEFT, ROLES
from snrlab.models.layouts.kohya_names import kohya_name, path_of_kohya_name
from snrlab.models.lora.adapter import Adapter
from snrlab.models.storage.safetensors_file import kohya_hashes, to_bytes

LoraFormat = Literal["kohya", "peft"]
Lora = dict[str, Adapter]  # by the layer's path, such as unet.mid_block.attentions.0.proj_in

_METADATA = "lora_adapter_metadata"  # where diffusers writes peft's configuration


def load_lora(path: Path, unet_config: Mapping[str, Any] | None = None, *, field: str = "LORA") -> Lora:
    """Load the adapters of a file onto the CPU, by the path of their layer.

    Args:
        path: a .safetensors file in kohya's layout (SDXL's UNet in the original names or diffusers') or peft's.
        unet_config: config of the UNet it belongs to; by default SDXL's, the family that uses original names.
        field: name of the option or field that gave the path, for messages.

    Raises:
        UserError: not a LoRA file, a pickle, or an adapter other than LoRA, LoCon or DoRA.
    """
    header = read_header(path, field)
    if not any("lora" in name for name in header.shapes):
        first = next(iter(header.shapes), "none")
        raise UserError(f"{field}: {path.name} holds no LoRA weights (its first tensor is {first}).", code="wrong-file")
    config = unet_config or families.config("sdxl", "unet")
    layers: dict[str, dict[str, Tensor]] = {}
    for key, tensor in load_file(path).items():
        layer, role = _parse_tensor_name(key, config, f"{field}: {path.name}")
        layers.setdefault(layer, {})[role] = tensor
    return {
        layer: _build_adapter(layer, parts, header.metadata, f"{field}: {path.name}") for layer, parts in layers.items()
    }


def kohya_tensors(lora: Lora, family: Family, unet_config: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Tensor]:
    """The tensors of a file in kohya's layout."""
    tensors: dict[str, Tensor] = {}
    for path, adapter in _with_readable_alphas(lora).items():
        name = kohya_name(path, family, unet_config)
        tensors[f"{name}.lora_down.weight"] = adapter.down
        tensors[f"{name}.lora_up.weight"] = adapter.up
        tensors[f"{name}.alpha"] = torch.tensor(adapter.alpha)
        if adapter.magnitude is not None:
            tensors[f"{name}.dora_scale"] = adapter.magnitude
    return {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in sorted(tensors.items())}


def peft_tensors(lora: Lora, dtype: torch.dtype) -> dict[str, Tensor]:
    """The tensors of a file in peft's layout, which stores no alpha: its scale goes into the up matrices.

    Raises:
        UserError: a DoRA with magnitudes per column, which peft's layout does not support.
    """
    tensors: dict[str, Tensor] = {}
    for path, adapter in lora.items():
        tensors[f"{path}.lora_A.weight"] = adapter.down
        tensors[f"{path}.lora_B.weight"] = adapter.with_alpha(adapter.rank).up
        if adapter.magnitude is not None:
            rows = adapter.magnitude
            if rows.shape[0] != adapter.up.shape[0]:
                raise UserError(
                    f"{path}: this DoRA has magnitudes per column; peft's layout has them per row only.",
                    code="not-supported",
                )
            tensors[f"{path}.lora_magnitude_vector.weight"] = rows.flatten() if rows.ndim == 2 else rows.transpose(0, 1)
    return {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in sorted(tensors.items())}


def write_lora(
    path: Path, lora: Lora, metadata: Mapping[str, str], form: LoraFormat, family: Family,
    unet_config: Mapping[str, Any], dtype: torch.dtype,
) -> None:  # fmt: skip
    """Write a LoRA file atomically, with the hashes by which programs identify it."""
    tensors = kohya_tensors(lora, family, unet_config, dtype) if form == "kohya" else peft_tensors(lora, dtype)
    hashes = kohya_hashes(tensors, metadata)
    hashes["modelspec.hash_sha256"] = "0x" + hashes["sshs_model_hash"]  # both are of the tensors alone
    write_atomically(path, to_bytes(tensors, {**metadata, **hashes}))


def convert_lora(source: Path, target: Path, to: LoraFormat | None = None, family: Family | None = None) -> LoraFormat:
    """Write a LoRA file in the other layout, with its number format and metadata; returns the new layout.

    Args:
        source: the file to convert.
        target: the new file.
        to: layout of the new file; by default the one that the source does not have.
        family: family of the LoRA's model; by default recognised from its layers.

    Raises:
        UserError: the source is not a LoRA, or the target exists.
    """
    if target.exists():
        raise UserError(f"{target} exists; it is never overwritten. Choose another name.", code="already-exists")
    header = read_header(source, "SOURCE")
    form: LoraFormat = to or other_lora_format(source)
    unet_config = families.config(family, "unet") if family else None
    lora = load_lora(source, unet_config, field="SOURCE")
    family = family or family_of(lora)
    metadata = {key: value for key, value in header.metadata.items() if key != _METADATA}
    dtype = next(iter(lora.values())).down.dtype
    write_lora(target, lora, metadata, form, family, unet_config or families.config(family, "unet"), dtype)
    return form


def other_lora_format(source: Path) -> LoraFormat:
    """The layout that a LoRA file does not have: peft's for kohya's, kohya's for any other."""
    return "peft" if any(map(KOHYA.fullmatch, read_header(source, "SOURCE").shapes)) else "kohya"


def is_lora(path: Path) -> bool:
    """Whether a file has tensor names of a LoRA."""
    return path.suffix == ".safetensors" and any("lora" in name for name in read_header(path, "SOURCE").shapes)


def family_of(lora: Lora) -> Family:
    """The family of a LoRA, as far as its layers show: SD 1.5 and 2 differ in the width of the text embeddings."""
    if any(path.startswith("text_encoder_2.") for path in lora):
        return "sdxl"
    widths = {a.down.shape[1] for path, a in lora.items() if path.endswith(("attn2.to_k", "attn2.to_v"))}
    return families.TEXT_WIDTHS.get(next(iter(widths), 0), "sd1")


def _with_readable_alphas(lora: Lora) -> Lora:
    """The same updates with alphas that diffusers reads correctly from a file in kohya's layout.

    diffusers (as of 0.42) applies a network's most common alpha to all its attention layers. Where that would be
    wrong, all layers of the network get one alpha and the up matrices compensate; other programs see no difference.
    """
    readable = dict(lora)
    for part in ("unet", "text_encoder", "text_encoder_2"):
        layers = {path: adapter for path, adapter in lora.items() if path.startswith(f"{part}.")}
        counts = Counter(adapter.alpha for adapter in layers.values()).most_common(2)
        affected = {a.alpha for path, a in layers.items() if part != "unet" or re.search(r"\.attn\d\.", path)}
        tie = len(counts) == 2 and counts[0][1] == counts[1][1]
        if affected and (tie or affected != {counts[0][0]}):
            readable |= {path: adapter.with_alpha(counts[0][0]) for path, adapter in layers.items()}
    return readable


def _parse_tensor_name(key: str, unet_config: Mapping[str, Any], file: str) -> tuple[str, str]:
    """Path of the layer that a tensor belongs to, and the tensor's role in it."""
    if match := KOHYA.fullmatch(key):
        try:
            return path_of_kohya_name(match[1], unet_config), ROLES[match[2]]
        except UserError as reason:
            raise UserError(f"{file}: {reason}", code=reason.code) from None
    match = PEFT.fullmatch(key)
    if match is None or key.startswith("lora_"):
        raise UserError(
            f"{file} has a tensor {key}; only LoRA, LoCon and DoRA can be used, no other kind of adapter.",
            code="not-supported",
        )
    layer = match["layer"].replace(".processor", "")
    if layer.endswith(".to_out"):  # diffusers' older layout omits the index
        layer += ".0"
    part, _, rest = layer.partition(".")
    if part not in ("unet", "text_encoder", "text_encoder_2"):
        part, rest = "unet", layer
    if part != "unet" and not rest.startswith(("text_model.", "text_projection")):
        rest = f"text_model.{rest}"
    return f"{part}.{rest}", ROLES[match["role"]]


def _build_adapter(layer: str, parts: Mapping[str, Tensor], metadata: Mapping[str, str], file: str) -> Adapter:
    for role in ("down", "up"):
        if role not in parts:
            raise UserError(
                f"{file} has no {role} matrix for {layer}; it is not a complete LoRA.", code="incomplete-weights"
            )
    down, up = parts["down"], parts["up"]
    if up.shape[1] != down.shape[0]:
        raise UserError(
            f"{file}: the matrices of {layer} do not fit each other, {list(up.shape)} and {list(down.shape)}.",
            code="damaged-file",
        )
    rank = down.shape[0]
    alpha = float(parts["alpha"]) if "alpha" in parts else _peft_alpha(layer, rank, metadata, file)
    rows = parts.get("rows")
    if rows is not None:  # peft's shapes are [out] and [1, out, 1, 1]
        rows = rows.reshape(up.shape[0], *[1] * (down.ndim - 1))
    return Adapter(down, up, alpha, parts.get("magnitude", rows))


def _peft_alpha(layer: str, rank: int, metadata: Mapping[str, str], file: str) -> float:
    """Alpha from peft's configuration in the header; the rank where there is none."""
    try:
        config = json.loads(metadata.get(_METADATA, "{}"))
    except ValueError:
        raise UserError(f"{file}: its header's {_METADATA} is not JSON.", code="invalid-json") from None
    part, _, name = layer.partition(".")
    alpha = config.get(f"{part}.lora_alpha", rank)
    for pattern, value in (config.get(f"{part}.alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", name):
            alpha = value
            break
    return float(alpha) * (rank**0.5 if config.get(f"{part}.use_rslora") else 1)
