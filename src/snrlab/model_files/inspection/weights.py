"""Norms of tensors, and findings on tensors that are not finite or all zero; files are read piece by piece."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from snrlab.core.findings.finding import Finding
from snrlab.model_files.header import Header
from snrlab.model_files.tensors import PLAIN_FORMATS, read_pieces


@dataclass(frozen=True)
class Norms:
    """Frobenius norms of the tensors of one network or block.

    Attributes:
        layers: number of layers.
        norm: root of the sum of all squares.
        largest: norm of the layer with the largest one.
    """

    layers: int
    norm: float
    largest: float


def weight_norms(header: Header) -> tuple[Mapping[str, Norms], list[Finding]]:
    """Norms of a checkpoint by block, and findings on its values."""
    sums: dict[str, list[float]] = {}
    non_finite, zeros = [], []
    for name, number_format in header.formats.items():
        # integers, such as position ids
        if number_format in PLAIN_FORMATS and number_format[0] in "IUB" and not number_format.startswith("BF"):
            continue
        square = tensor_square(header, name)
        if not np.isfinite(square):
            non_finite.append(name)
        elif square == 0 and name.endswith("weight"):
            zeros.append(name)
        sums.setdefault(_block(name), []).append(square)
    norms = {b: Norms(len(s), float(np.sqrt(sum(s))), float(np.sqrt(max(s)))) for b, s in sums.items()}
    return norms, [*not_finite(non_finite), *all_zero(zeros)]


def tensor_square(header: Header, name: str) -> float:
    """Sum of the squares of a tensor; NaN or infinite if one of its elements is."""
    return float(sum(np.square(piece, dtype=np.float64).sum() for piece in read_pieces(header, name)))


def not_finite(names: list[str]) -> list[Finding]:
    """Finding on tensors that hold NaN or infinity; empty if there are none."""
    if not names:
        return []
    message = f"{len(names)} tensors hold NaN or infinity, the first {names[0]}: pictures made with it are black."
    return [Finding("not_finite", "error", message, "Training went wrong; take an earlier checkpoint of it.")]


def all_zero(names: list[str]) -> list[Finding]:
    """Finding on weights that are all zero; empty if there are none."""
    if not names:
        return []
    return [Finding("all_zero", "warning", f"{len(names)} weights are all zero, the first {names[0]}.")]


def _block(name: str) -> str:
    """Network and block of a tensor's name, such as `unet input_blocks.4`."""
    for start, part in (("model.diffusion_model.", "unet"), ("first_stage_model.", "vae")):
        if name.startswith(start):
            inner = name.removeprefix(start).split(".")
            return f"{part} {'.'.join(inner[:2]) if inner[1:2] and inner[1].isdigit() else inner[0]}"
    return ".".join(name.split(".")[:2])
