"""Norms of tensors, and those that hold no number, read piece by piece."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from snrlab.core.findings.finding import Finding
from snrlab.model_files.header import Header
from snrlab.model_files.tensors import PLAIN_FORMATS, pieces


@dataclass(frozen=True)
class Norms:
    """Of the tensors of one part or block.

    Attributes:
        layers: how many there are.
        norm: root of the sum of squares; largest: that of the layer that has most.
    """

    layers: int
    norm: float
    largest: float


def weight_norms(header: Header) -> tuple[Mapping[str, Norms], list[Finding]]:
    """Norms by block of a checkpoint, and what is wrong with its numbers."""
    sums: dict[str, list[float]] = {}
    broken, zero = [], []
    for name, kind in header.formats.items():
        if kind in PLAIN_FORMATS and kind[0] in "IUB" and not kind.startswith("BF"):  # position numbers and the like
            continue
        square = tensor_square(header, name)
        if not np.isfinite(square):
            broken.append(name)
        elif square == 0 and name.endswith("weight"):
            zero.append(name)
        sums.setdefault(_block(name), []).append(square)
    norms = {b: Norms(len(s), float(np.sqrt(sum(s))), float(np.sqrt(max(s)))) for b, s in sums.items()}
    return norms, [*not_finite(broken), *all_zero(zero)]


def tensor_square(header: Header, name: str) -> float:
    """Sum of a tensor's squares; nan or infinite where one of its numbers is."""
    return float(sum(np.square(piece, dtype=np.float64).sum() for piece in pieces(header, name)))


def not_finite(names: list[str]) -> list[Finding]:
    """The remark on tensors that hold nan or infinity."""
    if not names:
        return []
    message = f"{len(names)} tensors hold NaN or infinity, the first {names[0]}: pictures made with it are black."
    return [Finding("not_finite", "error", message, "Training went wrong; take an earlier checkpoint of it.")]


def all_zero(names: list[str]) -> list[Finding]:
    """The remark on weights that are all zero."""
    if not names:
        return []
    return [Finding("all_zero", "warning", f"{len(names)} weights are all zero, the first {names[0]}.")]


def _block(name: str) -> str:
    """The first two levels of a name below the network's, such as `unet input_blocks.4`."""
    for start, part in (("model.diffusion_model.", "unet"), ("first_stage_model.", "vae")):
        if name.startswith(start):
            inner = name.removeprefix(start).split(".")
            return f"{part} {'.'.join(inner[:2]) if inner[1:2] and inner[1].isdigit() else inner[0]}"
    return ".".join(name.split(".")[:2])
