"""Ranks and alphas by block of the UNet: conversion between kohya's lists of numbers and our tables of names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snrlab.config.sections.lora import LoraConfig
from snrlab.peers.conversion import Conversion

BLOCKS = {"block_dims": ("lora.block_ranks", int), "block_alphas": ("lora.block_alphas", float),
          "conv_block_dims": ("lora.conv_block_ranks", int),
          "conv_block_alphas": ("lora.conv_block_alphas", float)}  # fmt: skip


def import_blocks(inner: Conversion, name: str, field: str, kind: type, *, sdxl: bool) -> None:
    """Import a list of numbers, one for each block, as a table by block name."""
    try:
        values = [kind(part) for part in str(inner.options[name]).split(",")]
    except ValueError:
        values = []
    names = block_names(sdxl)
    if len(values) != len(names):
        inner.drop(name, f"kohya has {len(names)} blocks here, but {len(values)} numbers are given")
        return
    if kind is float or "alphas" in name:
        table = {place: value for places, value in zip(names, values, strict=True) for place in places if value > 0}
    else:
        table = {place: value for places, value in zip(names, values, strict=True) for place in places}
    inner.set(field, _merge_equal_parts(table), name)


def block_names(sdxl: bool) -> list[tuple[str, ...]]:
    """Our names of kohya's blocks in kohya's order: 25 for SD 1.5 and SD 2, 23 for SDXL; empty without LoRA layers.

    >>> block_names(False)[1], block_names(False)[12], block_names(True)[4]
    (('down_blocks.0.resnets.0', 'down_blocks.0.attentions.0'), ('mid_block',), ('down_blocks.0.downsamplers',))
    """

    def layer(side: str, block: int, place: int) -> tuple[str, ...]:
        return tuple(f"{side}_blocks.{block}.{kind}.{place}" for kind in ("resnets", "attentions"))

    deep = 3 if sdxl else 4
    down = [layer("down", i, j) if j < 2 else (f"down_blocks.{i}.downsamplers",) for i in range(deep) for j in range(3)]
    up = [layer("up", i, j) + ((f"up_blocks.{i}.upsamplers",) if j == 2 else ()) for i in range(deep) for j in range(3)]
    if not sdxl:
        return [(), *down[:-1], ("mid_block",), *up]
    middle = [("mid_block.resnets.0",), ("mid_block.attentions.0",), ("mid_block.resnets.1",)]
    return [(), (), *down[:-1], *middle, *up, ()]


def _merge_equal_parts(table: Mapping[str, Any]) -> dict[str, Any]:
    """Merge the parts of a block that all have the same value into one entry."""
    merged: dict[str, Any] = {}
    for name, value in table.items():
        block = ".".join(name.split(".")[:2]) if not name.startswith("mid") else "mid_block"
        parts = {other: v for other, v in table.items() if other.startswith(f"{block}.")}
        whole = len(set(parts.values())) == 1 and len(parts) > 1
        merged[block if whole else name] = value
    return merged


def export_blocks(table: Mapping[str, Any], lora: LoraConfig, name: str) -> str | None:
    """A table by block as numbers in kohya's order; None where the names do not match kohya's blocks."""
    conv, alphas = name.startswith("conv"), name.endswith("alphas")
    default: float = (lora.alpha or lora.rank) if alphas else lora.rank
    if conv:
        default = ((lora.conv_alpha or default) if alphas else lora.conv_rank) or default
    for sdxl in (False, True):
        names = block_names(sdxl)
        parts = {part for places in names for part in places}
        if all(any(part == key or part.startswith(f"{key}.") for part in parts) for key in table):
            values = [{_value_of_part(table, part, default) for part in places} or {default} for places in names]
            if all(len(block_values) == 1 for block_values in values):
                return ",".join(f"{block_values.pop():g}" for block_values in values)
    return None


def _value_of_part(table: Mapping[str, Any], part: str, default: float) -> float:
    matching = [key for key in table if part == key or part.startswith(f"{key}.")]
    return table[max(matching, key=len)] if matching else default
