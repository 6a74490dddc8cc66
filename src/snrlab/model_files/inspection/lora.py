"""Adapters of a LoRA file: their layers, ranks and alphas, and the norms of their updates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from snrlab.core.errors import UserError
from snrlab.core.findings.finding import Finding
from snrlab.model_files.families import FAMILY_NAMES, TEXT_WIDTHS, Family
from snrlab.model_files.header import Header
from snrlab.model_files.inspection.weights import Norms, not_finite, tensor_square
from snrlab.model_files.lora_names import TensorPlace, place
from snrlab.model_files.tensors import element_count, read_tensor

MAX_RANK = 4096  # above this rank the product of the matrices is not computed


@dataclass(frozen=True)
class Adapters:
    """Contents of a LoRA file, from the names of its tensors.

    Attributes:
        kind: LoRA, LoCon, DoRA, LoHa, ..., in words.
        kinds: kinds of adapters that its tensors belong to, by `lora_names`.
        dora: whether it is a DoRA and nothing else.
        layout: kohya, peft, or both.
        layers: tensor of each role, by layer.
        places: place of each layer.
        parts: number of layers by network.
        parameters: number of elements of all tensors.
        ranks, alphas: number of layers with each rank and alpha.
        attention_alphas: number of the UNet's attention layers with each alpha.
        unet_naming: how UNet blocks are named, `original` or `diffusers`; `-` without UNet blocks.
        unmatched: tensors that belong to no known adapter.
        findings: what is wrong or unusual about the layers.
    """

    kind: str
    kinds: frozenset[str]
    dora: bool
    layout: str
    layers: Mapping[str, Mapping[str, str]]
    places: Mapping[str, TensorPlace]
    parts: Mapping[str, int]
    parameters: int
    ranks: Mapping[int, int]
    alphas: Mapping[float, int]
    attention_alphas: Mapping[float, int]
    unet_naming: str
    unmatched: tuple[str, ...]
    findings: tuple[Finding, ...] = field(default_factory=tuple)


def adapters(header: Header) -> Adapters:
    """Read the adapters of a LoRA file; of the tensors only the alphas are read, which are single numbers."""
    layers: dict[str, dict[str, str]] = {}
    places: dict[str, TensorPlace] = {}
    kinds: Counter[str] = Counter()
    layouts: set[str] = set()
    unmatched = []
    for name in header.shapes:
        tensor_place = place(name)
        if tensor_place is None:
            unmatched.append(name)
            continue
        layers.setdefault(tensor_place.layer, {})[tensor_place.role] = name
        places.setdefault(tensor_place.layer, tensor_place)
        if tensor_place.role not in ("alpha", "magnitude"):
            kinds[tensor_place.kind] += 1
            layouts.add(tensor_place.layout)
    ranks: Counter[int] = Counter(_rank(header, roles) for roles in layers.values() if "down" in roles)
    alphas = {layer: _alpha(header, roles["alpha"]) for layer, roles in layers.items() if "alpha" in roles}
    attention = Counter(a for layer, a in alphas.items() if "attn" in layer and places[layer].part == "unet")
    return Adapters(
        kind=_kind(header, kinds, layers),
        kinds=frozenset(kinds),
        dora=_is_dora(kinds, layers),
        layout=" and ".join(sorted(layouts)) or "kohya",
        layers=layers,
        places=places,
        parts=dict(Counter(tensor_place.part for tensor_place in places.values())),
        parameters=sum(element_count(header, name) for name in header.shapes),
        ranks=dict(sorted(ranks.items())),
        alphas=dict(sorted(Counter(alphas.values()).items())),
        attention_alphas=dict(attention),
        unet_naming=_unet_naming(places),
        unmatched=tuple(unmatched),
        findings=tuple(_findings(header, layers, unmatched, attention, ranks)),
    )


def _rank(header: Header, roles: Mapping[str, str]) -> int:
    shape = header.shapes[roles["down"]]
    return shape[0] if shape else 0


def _alpha(header: Header, name: str) -> float:
    if element_count(header, name) != 1:
        raise UserError(
            f"{header.where}: {name} has {element_count(header, name)} numbers; an alpha is one.", code="damaged-file"
        )
    return round(float(read_tensor(header, name).reshape(-1)[0]), 6)


def _kind(header: Header, kinds: Counter[str], layers: Mapping[str, Mapping[str, str]]) -> str:
    others = [kind for kind in kinds if kind != "LoRA"]
    if others:
        return " and ".join(sorted(kinds))
    if _is_dora(kinds, layers):
        return "DoRA"
    kernels = (header.shapes[roles["down"]][2:] for roles in layers.values() if "down" in roles)
    return "LoCon (LoRA with convolutions)" if any(max(k, default=1) > 1 for k in kernels) else "LoRA"


def _is_dora(kinds: Counter[str], layers: Mapping[str, Mapping[str, str]]) -> bool:
    return set(kinds) <= {"LoRA"} and any("magnitude" in roles or "rows" in roles for roles in layers.values())


def _unet_naming(places: Mapping[str, TensorPlace]) -> str:
    blocks = {tensor_place.block.split("_")[0] for tensor_place in places.values() if tensor_place.part == "unet"}
    return "original" if blocks & {"input", "middle", "output"} else "diffusers" if blocks - {"-"} else "-"


def file_family(header: Header, adapters: Adapters) -> tuple[Family | None, str]:
    """(family of the base model that an adapter belongs to, how it is known)."""
    for layer, roles in adapters.layers.items():
        if "down" in roles and layer.replace(".", "_").endswith(("attn2_to_k", "attn2_to_v")):
            shape = header.shapes[roles["down"]]
            if len(shape) > 1 and shape[1] in TEXT_WIDTHS:
                family = TEXT_WIDTHS[shape[1]]
                return family, f"its layers read text of width {shape[1]}, as {FAMILY_NAMES[family]}'s do"
    if "text_encoder_2" in adapters.parts:
        return "sdxl", "it has layers of a second text encoder"
    if any(part in layer for layer in adapters.layers for part in ("double_blocks", "joint_blocks", "single_blocks")):
        return None, "its layers are those of another kind of model (Flux, SD 3 or the like)"
    return None, "its layers do not tell"


def update_norms(header: Header, adapters: Adapters) -> tuple[Mapping[str, Norms], list[Finding]]:
    """Frobenius norms of the adapters' updates to the weights by network and block, and findings on their values."""
    sums: dict[str, list[float]] = {}
    non_finite, untrained = [], []
    for layer, roles in adapters.layers.items():
        squares = {role: tensor_square(header, name) for role, name in roles.items() if role != "alpha"}
        non_finite_tensor = next((roles[role] for role, square in squares.items() if not np.isfinite(square)), None)
        if non_finite_tensor is not None:
            non_finite.append(non_finite_tensor)
        elif squares.get("up") == 0:
            untrained.append(layer)
        if non_finite_tensor is None and {"down", "up"} <= set(roles):
            tensor_place = adapters.places[layer]
            sums.setdefault(f"{tensor_place.part} {tensor_place.block}", []).append(_update_square(header, roles))
    norms = {
        name: Norms(len(layer_squares), float(np.sqrt(sum(layer_squares))), float(np.sqrt(max(layer_squares))))
        for name, layer_squares in sorted(sums.items(), key=lambda item: _block_order(item[0]))
    }
    return norms, [*not_finite(non_finite), *_untrained(untrained, len(adapters.layers))]


def _update_square(header: Header, roles: Mapping[str, str]) -> float:
    """Squared norm |alpha / rank B A|^2, as sum((B^T B) * (A A^T)): the large product B A is never computed."""
    down, up = (read_tensor(header, roles[role]).astype(np.float64) for role in ("down", "up"))
    rank = down.shape[0] if down.ndim else 0
    if down.ndim < 2 or up.ndim < 2 or up.shape[1] != rank:
        raise UserError(
            f"{header.where}: the matrices {roles['down']} and {roles['up']} do not fit each other.",
            code="damaged-file",
        )
    if rank > MAX_RANK:
        return float("nan")
    a, b = down.reshape(rank, -1), up.reshape(up.shape[0], -1)
    scale = _alpha(header, roles["alpha"]) / max(rank, 1) if "alpha" in roles else 1.0
    return float(scale**2 * np.sum((b.T @ b) * (a @ a.T)))


def _block_order(name: str) -> tuple[str, int, int]:
    """Sort key of a network and block: by network, then from the input to the output."""
    part, _, block = name.partition(" ")
    _, _, number = block.rpartition("_")
    stage = next(
        (i for i, prefix in enumerate(("down", "input", "mid", "up", "output")) if block.startswith(prefix)), 9
    )
    return part, stage, int(number) if number.isdigit() else 0


def _untrained(names: list[str], total: int) -> list[Finding]:
    if not names:
        return []
    message = f"{len(names)} of {total} layers change nothing: their up matrix is 0, as before training."
    return [Finding("untrained_layers", "warning", message, f"The first is {names[0]}.")]


def _findings(
    header: Header,
    layers: Mapping[str, Mapping[str, str]],
    unmatched: list[str],
    attention_alphas: Counter[float],
    ranks: Counter[int],
) -> list[Finding]:
    findings = []
    if unmatched:
        message = f"{len(unmatched)} tensors belong to no known adapter, the first {unmatched[0]}."
        findings.append(
            Finding("unknown_tensors", "warning", message, "Programs ignore tensors that they do not know.")
        )
    incomplete = [layer for layer, roles in layers.items() if ("down" in roles) != ("up" in roles)]
    if incomplete:
        findings.append(
            Finding(
                "half_a_layer",
                "error",
                f"{len(incomplete)} layers have only one of their two matrices, the first {incomplete[0]}.",
            )
        )
    lora_layers = [roles for roles in layers.values() if "down" in roles]
    without_alpha = sum("alpha" not in roles for roles in lora_layers)
    if without_alpha and any("lora_down" in roles["down"] for roles in lora_layers):
        count = f"{without_alpha} of {len(lora_layers)} layers"
        message = f"{count} have no alpha: programs then take the rank, the full strength."
        findings.append(Finding("alpha_missing", "warning", message, "A smaller strength than 1 may be needed."))
    if len(attention_alphas) > 1:
        message = "attention layers have several alphas; diffusers takes the most common for all of them."
        findings.append(
            Finding("mixed_alphas", "warning", message, "It acts differently in diffusers than in other programs.")
        )
    if len(ranks) > 1:
        findings.append(Finding("mixed_ranks", "info", f"layers have {len(ranks)} different ranks."))
    stated_rank = header.metadata.get("ss_network_dim", "")
    if stated_rank.isdigit() and ranks and int(stated_rank) not in ranks:
        message = (
            f"the metadata says rank {stated_rank}, and no layer has it: the file was resized or its metadata copied."
        )
        findings.append(Finding("other_rank", "info", message))
    return findings
