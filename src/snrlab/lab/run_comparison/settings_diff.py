"""The settings in which runs differ."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from snrlab.core.registries.registry import Choice
from snrlab.lab.run_comparison.arms import Arm

_LONGEST = 60  # characters of a value that are shown
_SHOWN_ELSEWHERE = ("name",)


@dataclass(frozen=True)
class SettingDifference:
    """A field of the run file that differs: its value in each arm, as text."""

    field: str
    values: tuple[str, ...]


def setting_differences(arms: Sequence[Arm]) -> tuple[SettingDifference, ...]:
    """The fields in which the arms differ, in the order of the run file; of the seed, those of all runs of an arm."""
    flat = [dict(_flatten(arm.runs[0].config)) for arm in arms]
    for values, arm in zip(flat, arms, strict=True):
        values["seed"] = ", ".join(map(str, arm.seeds))
    names = [name for name in dict.fromkeys(name for values in flat for name in values) if name not in _SHOWN_ELSEWHERE]
    return tuple(
        SettingDifference(name, tuple(_shortened(values[name]) for values in flat))
        for name in names
        if len({values[name] for values in flat}) > 1
    )


def _flatten(section: BaseModel, prefix: str = "") -> list[tuple[str, str]]:
    rows = []
    for name in type(section).model_fields:
        value = getattr(section, name)
        rows += _flatten(value, f"{prefix}{name}.") if isinstance(value, BaseModel) else [(prefix + name, _text(value))]
    return rows


def _text(value: Any) -> str:
    match value:
        case None:
            return "-"
        case Choice():
            return value.spec
        case list() | tuple() if any(isinstance(item, Choice) for item in value):
            return " ".join(map(_text, value))
        case list() | tuple() if not value:
            return "none"
        case BaseModel():
            return json.dumps(value.model_dump(mode="json", exclude_unset=True), ensure_ascii=False)
        case list() | tuple():
            return "; ".join(map(_text, value))
        case bool() | dict():
            return json.dumps(value, ensure_ascii=False)
        case float():
            return f"{value:g}"
    return str(value)


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
