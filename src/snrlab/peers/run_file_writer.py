"""A run file from lines that were carried over: only what loads, with everything else at its end."""

from __future__ import annotations

import re
import textwrap
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from snrlab.config.load import cause, code_of, schema_error_text
from snrlab.config.run import RunConfig
from snrlab.config.run_file_text import WIDTH, Line, run_text
from snrlab.core.errors import UserError
from snrlab.peers.conversion import Dropped, shown

_HEADINGS = {
    "lost": "not carried:",
    "idle": "needs nothing here:",
    "default": "at the program's default, so that nothing is lost:",
}


@dataclass(frozen=True)
class Written:
    """A run file's text, its lines, and what has no place in it."""

    text: str
    lines: tuple[Line, ...]
    left: tuple[Dropped, ...]


def write_run_file(lines: Sequence[Line], left: Sequence[Dropped], head: Sequence[str]) -> Written:
    """The run file; a line that it would not load with is left out, with the reason.

    Raises:
        UserError: what does not load is not one of the lines.
    """
    kept, gone = _loading(_last(lines))
    every = [*left, *gone]
    text = run_text(kept, head) + "".join(f"{line}\n" for line in tail(every, "# "))
    RunConfig.model_validate(tomllib.loads(text))
    return Written(text, tuple(kept), tuple(every))


def tail(left: Sequence[Dropped], prefix: str = "") -> list[str]:
    """What has no place, by grade, one a line."""
    lines: list[str] = []
    for grade, heading in _HEADINGS.items():
        found = [item for item in left if item.grade == grade]
        if not found:
            continue
        lines += ["", f"{prefix}{heading}"]
        for text in _told(found, grade):
            lines += textwrap.wrap(
                text, WIDTH, initial_indent=f"{prefix}  ", subsequent_indent=f"{prefix}    ", break_long_words=False,
                break_on_hyphens=False,
            )  # fmt: skip
    return lines


def _told(found: Sequence[Dropped], grade: str) -> Iterator[str]:
    """Each reason once, after the options that it is of."""
    if grade == "default":
        yield from (item.option for item in found)
        return
    reasons: dict[str, list[str]] = {}
    for item in found:
        reasons.setdefault(item.why, []).append(item.option)
    yield from (f"{', '.join(dict.fromkeys(options))}: {why}" for why, options in reasons.items())


def _last(lines: Sequence[Line]) -> list[Line]:
    """One line a field; the last one counts."""
    return list({line.name: line for line in lines}.values())


def _loading(lines: list[Line]) -> tuple[list[Line], list[Dropped]]:
    """The lines that load together, and those that were in the way."""
    gone: list[Dropped] = []
    while True:
        try:
            RunConfig.model_validate(tomllib.loads(run_text(lines, [])))
        except ValidationError as mistakes:
            error = mistakes.errors()[0]
            message = schema_error_text(error, RunConfig)
            wrong = _culprit(error, lines)
            if wrong is None:
                raise UserError(f"the run file cannot be made: {message}", code=code_of(mistakes)) from None
            lines = [line for line in lines if line is not wrong]
            origin = wrong.said or f"{wrong.name} = {shown(wrong.value)}"
            gone.append(Dropped(origin, message, code="invalid-value", names=wrong.options))
        else:
            return lines, gone


def _culprit(error: Any, lines: Sequence[Line]) -> Line | None:
    """The line that an error is about: the field where it is, or that of its section which is to be changed."""
    where = re.sub(r"\.(\d+)", r"[\1]", ".".join(str(part) for part in error["loc"]))
    exact = [line for line in lines if where == line.name or where.startswith((f"{line.name}.", f"{line.name}["))]
    if exact:
        return exact[0]
    mistake = cause(error)
    own = [line for line in lines if line.name.startswith(f"{where}.") or (not where and line.section)]
    field = "" if mistake is None else mistake.field
    return next((line for line in own if line.name.rpartition(".")[2] == field), None)
