"""The settings in which runs differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from snrlab.config.field_values import differ, field_values, value_text
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
    flat = [{each.field: each.value for each in field_values(arm.runs[0].config)} for arm in arms]
    for values, arm in zip(flat, arms, strict=True):
        values["seed"] = ", ".join(map(str, arm.seeds))
    return tuple(
        SettingDifference(name, tuple(value_text(values[name], _LONGEST) for values in flat))
        for name in flat[0]
        if name not in _SHOWN_ELSEWHERE and any(differ(values[name], flat[0][name]) for values in flat[1:])
    )
