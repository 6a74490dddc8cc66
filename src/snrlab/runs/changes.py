"""Changes to the run file of a started run: which are accepted on resume, and which are refused.

Whether a field may change is declared on the field itself (`json_schema_extra` in `snrlab.config`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from snrlab.config import RunConfig
from snrlab.config.field_values import differ, field_values, json_value, value_text
from snrlab.config.sections.section import OnResume, on_resume
from snrlab.core.errors import UserError
from snrlab.runs.folder import RunFolder
from snrlab.runs.logs import read_steps

# complete only once model and images are known
RESOLVED_FIELDS = ("recipe", "train.steps", "train.epochs", "validation.every")
PROCESSES = "processes"
SET_PATHS = ("folder", "masks")
_LONGEST = 60  # characters of a value in a table


@dataclass(frozen=True)
class FieldChange:
    """A field whose value differs from that in the started run."""

    field: str
    before: Any
    now: Any
    rule: OnResume


def changes(before: RunConfig, now: RunConfig, *, resolved: bool = True) -> list[FieldChange]:
    """The fields that differ, except `name`, which follows the folder.

    With `resolved` false, `now` still leaves fields open that the model and the images decide; those are not compared.
    """
    differing = [change for change in _changes(before, now) if change.field != "name"]
    if resolved:
        return differing
    return [change for change in differing if not change.field.startswith(RESOLVED_FIELDS)]


def refused(differing: Sequence[FieldChange], *, same_batch: bool) -> list[FieldChange]:
    """The changes with which a started run cannot continue; some are accepted if the global batch stays the same."""
    return [change for change in differing if change.rule == "fixed" or (change.rule == "batch" and not same_batch)]


def global_batch(config: RunConfig, processes: int = 1) -> int:
    """Number of images in an optimizer step."""
    return config.train.batch_size * config.train.gradient_accumulation * processes


def processes_of(folder: RunFolder, config: RunConfig) -> int | None:
    """Number of processes that trained a run so far, from the batch of its first logged step; None without one."""
    first = next(read_steps(folder.steps_file), None)
    return None if first is None else max(1, len(first["t"]) // global_batch(config))


def refuse(
    folder: RunFolder, before: RunConfig, now: RunConfig, processes: int = 1, *, resolved: bool = True
) -> list[FieldChange]:
    """The accepted changes to the config and to the number of processes.

    Raises:
        UserError: a field that determines what was trained so far has changed.
    """
    differing = changes(before, now, resolved=resolved)
    processes_before = processes_of(folder, before) or processes
    if processes_before != processes:
        differing.append(FieldChange(PROCESSES, processes_before, processes, "batch"))
    rejected = refused(differing, same_batch=global_batch(before, processes_before) == global_batch(now, processes))
    if rejected:
        raise UserError(
            f"{folder.path} was started with another configuration:\n{changes_table(rejected)}\n"
            "What has been trained so far depends on these fields. Put the old values back, or start a new run from "
            "the last checkpoint with the new values: snrlab train FILE --fork NAME.",
            code="settings-changed",
        )
    return [change for change in differing if change not in rejected]


def notes(accepted: Sequence[FieldChange], before: RunConfig, now: RunConfig) -> list[str]:
    """Log lines about the accepted changes."""
    if not accepted:
        return []
    lines = [f"changed, and used from now on:\n{changes_table(accepted)}"]
    if any(change.rule == "batch" for change in accepted):
        old, new = before.train, now.train
        layout = next((c for c in accepted if c.field == PROCESSES), None)
        times_before, times_now = (f" x {layout.before}", f" x {layout.now} processes") if layout else ("", "")
        lines.append(
            f"batch {new.batch_size} x {new.gradient_accumulation} accumulated{times_now} instead of "
            f"{old.batch_size} x {old.gradient_accumulation}{times_before}: the same global batch, the same curve to "
            "rounding"
        )
    if any(change.field == "train.steps" for change in accepted):
        lines.append("the learning rate follows the new number of steps")
    return lines


def changes_table(differing: Sequence[FieldChange]) -> str:
    """Table of changes in text: field, value in the run, value now."""
    rows = [
        ("field", "in the run", "now"),
        *((c.field, value_text(c.before, _LONGEST), value_text(c.now, _LONGEST)) for c in differing),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "\n".join(f"  {a:{widths[0]}}  {b:{widths[1]}}  {c}" for a, b, c in rows)


def remember(file: Path, step: int, accepted: Sequence[FieldChange]) -> None:
    """Append accepted changes to a run's history, with the step from which they apply."""
    if accepted:
        lines = [
            {"step": step, "field": c.field, "before": json_value(c.before), "now": json_value(c.now)} for c in accepted
        ]
        with file.open("a", encoding="utf-8", newline="\n") as history:
            history.writelines(json.dumps(line) + "\n" for line in lines)


def _changes(before: RunConfig, now: RunConfig) -> Iterator[FieldChange]:
    for old, new in zip(field_values(before), field_values(now), strict=True):
        if differ(old.value, new.value):
            moved = new.field != "data.sets" or _without_paths(old.value) == _without_paths(new.value)
            yield FieldChange(new.field, old.value, new.value, on_resume(new.info) if moved else "fixed")


def _without_paths(sets: Sequence[BaseModel]) -> list[Any]:
    return [{k: v for k, v in image_set.model_dump().items() if k not in SET_PATHS} for image_set in sets]
