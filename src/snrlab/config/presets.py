"""Presets: templates of run files, as data. Each field has a reason, and a value that may differ by family."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal, get_args

from snrlab.core.errors import unknown

PresetBase = Literal["sd1", "sd2", "sdxl", "small"]
BASES: tuple[PresetBase, ...] = get_args(PresetBase)
BASE_NAMES: dict[PresetBase, str] = {
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
        values: by family; for a missing family the field keeps its default.
        why: the reason, a sentence or two.
        tags_only: the field applies only if captions are lists of tags.
    """

    name: str
    values: Mapping[PresetBase, Any]
    why: str
    tags_only: bool


@dataclass(frozen=True)
class Preset:
    """Template of a run file.

    Attributes:
        name: name on the command line.
        summary: purpose, in a sentence.
        views: how often each image is trained on, within `least` and `most` optimizer steps.
        memory: memory in GB of a graphics card that suffices, by family.
        trigger: whether the LoRA gets a trigger word.
        fields: fields of the run file, in order.
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
        """Optimizer steps for a number of images, a multiple of 50 within the limits.

        >>> load_preset("style-lora").steps(24, 2)
        1200
        """
        steps = round(images * self.views / batch / 50) * 50
        return min(max(steps, self.least), self.most)


def preset_names() -> list[str]:
    """Names of the presets that ship."""
    folder = resources.files("snrlab") / "presets"
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


def load_preset(name: str) -> Preset:
    """Load a preset that ships (UserError for an unknown name)."""
    if name not in preset_names():
        raise unknown("--preset", name, preset_names())
    data = tomllib.loads((resources.files("snrlab") / "presets" / f"{name}.toml").read_text(encoding="utf-8"))
    least, most = data["steps"]
    fields = tuple(_parse_field(field) for field in data["fields"])
    trigger = data.get("trigger", False)
    return Preset(name, data["summary"], data["views"], least, most, data["memory"], trigger, fields)


def _parse_field(data: dict[str, Any]) -> PresetField:
    """Parse a field; `value` is for every family except the small model, which has its own key or keeps the default."""
    values = {base: data.get(base, data.get("value") if base != "small" else None) for base in BASES}
    given = {base: value for base, value in values.items() if value is not None}
    return PresetField(data["name"], given, data["why"], data.get("only") == "tags")
