"""A started run with a changed run file: what is different, what of it is taken, what is refused and the way out.

Which field may change is stated on the field itself (`json_schema_extra` in `snrlab.config`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from snrlab.config import RunConfig
from snrlab.config.sections.section import OnResume, on_resume
from snrlab.config.sections.strategy import as_table
from snrlab.core.errors import UserError
from snrlab.core.registries.registry import Choice
from snrlab.runs.folder import RunFolder
from snrlab.runs.logs import read_steps

FROM_THE_MODEL = ("recipe", "train.steps", "train.epochs")  # known in full only when model and images are
PROCESSES = "processes"
PLACES_OF_A_SET = ("folder", "masks")


@dataclass(frozen=True)
class FieldChange:
    """A field that has another value than in the started run."""

    field: str
    before: Any
    now: Any
    rule: OnResume


def changes(before: RunConfig, now: RunConfig, *, resolved: bool = True) -> list[FieldChange]:
    """The fields that differ, but for the name, which is the folder's.

    With `resolved` false `now` still leaves to the model and the images what it does not state; of that nothing is
    said.
    """
    found = [change for change in _changes(before, now, "") if change.field != "name"]
    if resolved:
        return found
    return [change for change in found if not change.field.startswith(FROM_THE_MODEL)]


def refused(found: Sequence[FieldChange], *, same_batch: bool) -> list[FieldChange]:
    """Those of the changes that a started run cannot go on with; some may be if the global batch is the same."""
    return [change for change in found if change.rule == "fixed" or (change.rule == "batch" and not same_batch)]


def global_batch(config: RunConfig, processes: int = 1) -> int:
    """Images in an optimizer step."""
    return config.train.batch_size * config.train.gradient_accumulation * processes


def processes_of(folder: RunFolder, config: RunConfig) -> int | None:
    """How many processes have trained a run so far, by the images in a step of its log; None before its first step."""
    first = next(read_steps(folder.steps_file), None)
    return None if first is None else max(1, len(first["t"]) // global_batch(config))


def refuse(
    folder: RunFolder, before: RunConfig, now: RunConfig, processes: int = 1, *, resolved: bool = True
) -> list[FieldChange]:
    """The changes that are taken, of the config and of the number of processes.

    Raises:
        UserError: a field that decides what was trained so far has changed.
    """
    found = changes(before, now, resolved=resolved)
    then = processes_of(folder, before) or processes
    if then != processes:
        found.append(FieldChange(PROCESSES, then, processes, "batch"))
    wrong = refused(found, same_batch=global_batch(before, then) == global_batch(now, processes))
    if wrong:
        raise UserError(
            f"{folder.path} was started with another configuration:\n{changes_table(wrong)}\n"
            "What has been trained so far depends on these. Put them back; or start a run of its own from the last "
            "checkpoint with the new ones: --fork NAME instead of --resume.",
            code="settings-changed",
        )
    return [change for change in found if change not in wrong]


def notes(taken: Sequence[FieldChange], before: RunConfig, now: RunConfig) -> list[str]:
    """What the user is told of changes that are taken."""
    if not taken:
        return []
    said = [f"changed, and taken from here on:\n{changes_table(taken)}"]
    if any(change.rule == "batch" for change in taken):
        old, new = before.train, now.train
        layout = next((c for c in taken if c.field == PROCESSES), None)
        then, today = (f" x {layout.before}", f" x {layout.now} processes") if layout else ("", "")
        said.append(
            f"batch {new.batch_size} x {new.gradient_accumulation} accumulated{today} instead of {old.batch_size} x "
            f"{old.gradient_accumulation}{then}: the same global batch, the same curve to rounding"
        )
    if any(change.field == "train.steps" for change in taken):
        said.append("the learning rate follows the new number of steps")
    return said


def changes_table(found: Sequence[FieldChange]) -> str:
    """The changes as lines: field, in the run, now."""
    rows = [("field", "in the run", "now"), *((c.field, _shown(c.before), _shown(c.now)) for c in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "\n".join(f"  {a:{widths[0]}}  {b:{widths[1]}}  {c}" for a, b, c in rows)


def remember(file: Path, step: int, taken: Sequence[FieldChange]) -> None:
    """Add changes to the history of a run, with the step from which they count."""
    if taken:
        lines = [{"step": step, "field": c.field, "before": _plain(c.before), "now": _plain(c.now)} for c in taken]
        with file.open("a", encoding="utf-8", newline="\n") as history:
            history.writelines(json.dumps(line) + "\n" for line in lines)


def _changes(before: BaseModel, now: BaseModel, prefix: str) -> Iterator[FieldChange]:
    for name, field in type(now).model_fields.items():
        old, new = getattr(before, name), getattr(now, name)
        if isinstance(old, BaseModel) and isinstance(new, BaseModel):
            yield from _changes(old, new, f"{prefix}{name}.")
        elif _plain(old) != _plain(new):
            rule = on_resume(field)
            if name == "sets" and _without_places(old) != _without_places(new):
                rule = "fixed"
            yield FieldChange(f"{prefix}{name}", old, new, rule)


def _without_places(sets: Sequence[BaseModel]) -> list[Any]:
    return [{k: v for k, v in one.model_dump().items() if k not in PLACES_OF_A_SET} for one in sets]


def _plain(value: Any) -> Any:
    """A value as JSON holds it."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return _plain(as_table(value)) if isinstance(value, Choice) else value


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    text = json.dumps(_plain(value), ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
