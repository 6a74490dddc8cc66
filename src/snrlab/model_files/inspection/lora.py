"""The adapters in a LoRA file: layers, ranks, alphas and the size of what they change."""

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
from snrlab.model_files.tensors import elements, read_tensor

WIDEST = 4096  # a rank beyond which the product of the matrices is not looked at


@dataclass(frozen=True)
class Adapters:
    """What a LoRA file holds, by the names of its tensors.

    Attributes:
        kind: LoRA, LoCon, DoRA, LoHa, ..., in words; kinds: what its tensors are of, by `lora_names`.
        dora: whether it is a DoRA and nothing else.
        layout: kohya, peft, or both.
        layers: by name, each role's tensor.
        parts: layers by network; numbers in `parameters`.
        ranks, alphas: how many layers have each; alphas of attention layers apart in `attention_alphas`.
        names: of the layers of an SDXL UNet: `original` or `diffusers`; `-` where there are none.
        alone: tensors that belong to no adapter.
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
    names: str
    alone: tuple[str, ...]
    found: tuple[Finding, ...] = field(default_factory=tuple)


def adapters(header: Header) -> Adapters:
    """Read the layers of an adapter file; of its tensors only the alphas, which are single numbers."""
    layers: dict[str, dict[str, str]] = {}
    places: dict[str, TensorPlace] = {}
    kinds: Counter[str] = Counter()
    layouts: set[str] = set()
    alone = []
    for name in header.shapes:
        at = place(name)
        if at is None:
            alone.append(name)
            continue
        layers.setdefault(at.layer, {})[at.role] = name
        places.setdefault(at.layer, at)
        if at.role not in ("alpha", "magnitude"):
            kinds[at.kind] += 1
            layouts.add(at.layout)
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
        parts=dict(Counter(at.part for at in places.values())),
        parameters=sum(elements(header, name) for name in header.shapes),
        ranks=dict(sorted(ranks.items())),
        alphas=dict(sorted(Counter(alphas.values()).items())),
        attention_alphas=dict(attention),
        names=_names(places),
        alone=tuple(alone),
        found=tuple(_remarks(header, layers, alone, attention, ranks)),
    )


def _rank(header: Header, roles: Mapping[str, str]) -> int:
    shape = header.shapes[roles["down"]]
    return shape[0] if shape else 0


def _alpha(header: Header, name: str) -> float:
    if elements(header, name) != 1:
        raise UserError(
            f"{header.where}: {name} has {elements(header, name)} numbers; an alpha is one.", code="damaged-file"
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


def _names(places: Mapping[str, TensorPlace]) -> str:
    blocks = {at.block.split("_")[0] for at in places.values() if at.part == "unet"}
    return "original" if blocks & {"input", "middle", "output"} else "diffusers" if blocks - {"-"} else "-"


def file_family(header: Header, found: Adapters) -> tuple[Family | None, str]:
    """The family that an adapter belongs to, and how it is known."""
    for layer, roles in found.layers.items():
        if "down" in roles and layer.replace(".", "_").endswith(("attn2_to_k", "attn2_to_v")):
            shape = header.shapes[roles["down"]]
            if len(shape) > 1 and shape[1] in TEXT_WIDTHS:
                family = TEXT_WIDTHS[shape[1]]
                return family, f"its layers read text of width {shape[1]}, as {FAMILY_NAMES[family]}'s do"
    if "text_encoder_2" in found.parts:
        return "sdxl", "it has layers of a second text encoder"
    if any(word in layer for layer in found.layers for word in ("double_blocks", "joint_blocks", "single_blocks")):
        return None, "its layers are those of another kind of model (Flux, SD 3 or the like)"
    return None, "its layers do not tell"


def measured(header: Header, found: Adapters) -> tuple[Mapping[str, Norms], list[Finding]]:
    """Frobenius norms of what the adapters add to the weights, by network and block, and what is wrong with them."""
    sums: dict[str, list[float]] = {}
    broken, untrained = [], []
    for layer, roles in found.layers.items():
        squares = {role: tensor_square(header, name) for role, name in roles.items() if role != "alpha"}
        bad = next((roles[role] for role, square in squares.items() if not np.isfinite(square)), None)
        if bad is not None:
            broken.append(bad)
        elif squares.get("up") == 0:
            untrained.append(layer)
        if bad is None and {"down", "up"} <= set(roles):
            at = found.places[layer]
            sums.setdefault(f"{at.part} {at.block}", []).append(_update_square(header, roles))
    norms = {
        name: Norms(len(s), float(np.sqrt(sum(s))), float(np.sqrt(max(s))))
        for name, s in sorted(sums.items(), key=lambda item: _order(item[0]))
    }
    return norms, [*not_finite(broken), *_untrained(untrained, len(found.layers))]


def _update_square(header: Header, roles: Mapping[str, str]) -> float:
    """|alpha / rank B A|^2 = sum((B^T B) * (A A^T)): the product itself, which is large, is never made."""
    down, up = (read_tensor(header, roles[role]).astype(np.float64) for role in ("down", "up"))
    rank = down.shape[0] if down.ndim else 0
    if down.ndim < 2 or up.ndim < 2 or up.shape[1] != rank:
        raise UserError(
            f"{header.where}: the matrices {roles['down']} and {roles['up']} do not fit each other.",
            code="damaged-file",
        )
    if rank > WIDEST:
        return float("nan")
    a, b = down.reshape(rank, -1), up.reshape(up.shape[0], -1)
    scale = _alpha(header, roles["alpha"]) / max(rank, 1) if "alpha" in roles else 1.0
    return float(scale**2 * np.sum((b.T @ b) * (a @ a.T)))


def _order(name: str) -> tuple[str, int, int]:
    """Networks in their order, blocks from the input to the output."""
    part, _, block = name.partition(" ")
    _, _, number = block.rpartition("_")
    stage = next((i for i, word in enumerate(("down", "input", "mid", "up", "output")) if block.startswith(word)), 9)
    return part, stage, int(number) if number.isdigit() else 0


def _untrained(names: list[str], total: int) -> list[Finding]:
    if not names:
        return []
    message = f"{len(names)} of {total} layers change nothing: their up matrix is 0, as before training."
    return [Finding("untrained_layers", "warning", message, f"The first is {names[0]}.")]


def _remarks(
    header: Header,
    layers: Mapping[str, Mapping[str, str]],
    alone: list[str],
    attention: Counter[float],
    ranks: Counter[int],
) -> list[Finding]:
    found = []
    if alone:
        message = f"{len(alone)} tensors belong to no adapter that is known here, the first {alone[0]}."
        found.append(Finding("unknown_tensors", "warning", message, "Programs pass over what they do not know."))
    half = [layer for layer, roles in layers.items() if ("down" in roles) != ("up" in roles)]
    if half:
        found.append(Finding("half_a_layer", "error", f"{len(half)} layers have one matrix of two, first {half[0]}."))
    lora = [roles for roles in layers.values() if "down" in roles]
    bare = sum("alpha" not in roles for roles in lora)
    if bare and any("lora_down" in roles["down"] for roles in lora):
        message = f"{bare} of {len(lora)} layers have no alpha: programs then take the rank, the full strength."
        found.append(Finding("alpha_missing", "warning", message, "A smaller strength than 1 may be needed."))
    if len(attention) > 1:
        message = "attention layers have several alphas; diffusers takes the most common for all of them."
        found.append(Finding("mixed_alphas", "warning", message, "In diffusers it acts otherwise than elsewhere."))
    if len(ranks) > 1:
        found.append(Finding("mixed_ranks", "info", f"layers have {len(ranks)} different ranks."))
    stated = header.metadata.get("ss_network_dim", "")
    if stated.isdigit() and ranks and int(stated) not in ranks:
        message = f"the metadata says rank {stated}, and no layer has it: the file was resized or its metadata copied."
        found.append(Finding("other_rank", "info", message))
    return found
