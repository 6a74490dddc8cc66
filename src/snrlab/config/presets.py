"""Presets: run files to start from, as data. Each field has a value, by family where it differs, and a reason."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal, get_args

from snrlab.core.errors import unknown

PresetBase = Literal["sd1", "sd2", "sdxl", "small"]
BASES: tuple[PresetBase, ...] = get_args(PresetBase)
PRESET_NAMES: dict[PresetBase, str] = {
    "sd1": "SD 1.5",
    "sd2": "SD 2",
    "sdxl": "SDXL",
    "small": "the small model that ships",
}


@dataclass(frozen=True)
class PresetField:
    """A field of a preset.

    Attributes:
        name: `section.field`.
        values: by family; a family that is not there leaves the field at its default.
        why: the reason, a sentence or two.
        tags_only: the field is for captions that are lists of tags.
    """

    name: str
    values: Mapping[PresetBase, Any]
    why: str
    tags_only: bool


@dataclass(frozen=True)
class Preset:
    """A run file to start from.

    Attributes:
        name: what it is asked for by.
        summary: what it is for, in a sentence.
        views: how often each picture is seen, between `least` and `most` steps.
        memory: of a graphics card that it fits, in GB, by family.
        trigger: whether what is learnt is called by a word of its own.
    """

    name: str
    summary: str
    views: int
    least: int
    most: int
    memory: Mapping[PresetBase, int]
    trigger: bool
    fields: tuple[PresetField, ...]

    def steps(self, images: int, batch: int) -> int:
        """Optimizer steps for so many pictures, in whole fifties.

        >>> load_preset("style-lora").steps(24, 2)
        1200
        """
        wanted = round(images * self.views / batch / 50) * 50
        return min(max(wanted, self.least), self.most)


def names() -> list[str]:
    """Names of the presets that ship."""
    folder = resources.files("snrlab") / "presets"
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


def load_preset(name: str) -> Preset:
    """A preset that ships (UserError where there is none of that name)."""
    if name not in names():
        raise unknown("--preset", name, names())
    data = tomllib.loads((resources.files("snrlab") / "presets" / f"{name}.toml").read_text(encoding="utf-8"))
    least, most = data["steps"]
    fields = tuple(_field(field) for field in data["fields"])
    trigger = data.get("trigger", False)
    return Preset(name, data["summary"], data["views"], least, most, data["memory"], trigger, fields)


def _field(data: dict[str, Any]) -> PresetField:
    """A field; `value` is that of every family but the small model, which has its own or none."""
    values = {base: data.get(base, data.get("value") if base != "small" else None) for base in BASES}
    stated = {base: value for base, value in values.items() if value is not None}
    return PresetField(data["name"], stated, data["why"], data.get("only") == "tags")
