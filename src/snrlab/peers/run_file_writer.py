"""Writer of an imported run file: the lines that load, with everything that was dropped in comments at its end."""

from __future__ import annotations

import re
import textwrap
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from snrlab.config.load import schema_error_text, user_error_in, validation_error_code
from snrlab.config.run import RunConfig
from snrlab.config.run_file_text import LINE_WIDTH, Line, run_text
from snrlab.core.errors import UserError
from snrlab.peers.conversion import Dropped, shown

_HEADINGS = {
    "lost": "Left out:",
    "harmless": "Not needed:",
    "default": "At the program's default, so without effect:",
}


@dataclass(frozen=True)
class Written:
    """Run file that was written: its text, its lines, and the options that were dropped."""

    text: str
    lines: tuple[Line, ...]
    dropped: tuple[Dropped, ...]

    @property
    def counts(self) -> str:
        """How many of the source's options were imported and how many were not, as a sentence."""
        imported = {name for line in self.lines for name in line.options}
        numbers = dict.fromkeys(_HEADINGS, 0)
        for item in self.dropped:
            numbers[item.severity] += max(1, len(item.names))
        parts = [
            f"{len(imported)} option{'s' * (len(imported) != 1)} imported",
            *([f"{numbers['lost']} left out"] if numbers["lost"] else []),
            *([f"{rest} not needed"] if (rest := numbers["harmless"] + numbers["default"]) else []),
        ]
        return f"{', '.join(parts)}."


def write_run_file(lines: Sequence[Line], dropped: Sequence[Dropped], head: Sequence[str]) -> Written:
    """Compose the run file; lines that keep it from loading are dropped, with the reason.

    Raises:
        UserError: the run file does not load, and none of the lines is the cause.
    """
    valid, invalid = _drop_invalid_lines(_last_per_field(lines))
    all_dropped = [*dropped, *invalid]
    text = run_text(valid, head) + "".join(f"{line}\n" for line in format_dropped(all_dropped, "# "))
    RunConfig.model_validate(tomllib.loads(text))
    return Written(text, tuple(valid), tuple(all_dropped))


def format_dropped(dropped: Sequence[Dropped], prefix: str = "") -> list[str]:
    """Lines that list the dropped options under a heading for each severity."""
    lines: list[str] = []
    for severity, heading in _HEADINGS.items():
        items = [item for item in dropped if item.severity == severity]
        if not items:
            continue
        lines += ["", f"{prefix}{heading}"]
        for text in _group_by_reason(items, severity):
            lines += textwrap.wrap(
                text, LINE_WIDTH, initial_indent=f"{prefix}  ", subsequent_indent=f"{prefix}    ",
                break_long_words=False, break_on_hyphens=False,
            )  # fmt: skip
    return lines


def _group_by_reason(items: Sequence[Dropped], severity: str) -> Iterator[str]:
    """Entries of the list: options with the same reason in one entry."""
    if severity == "default":
        yield from (item.option for item in items)
        return
    reasons: dict[str, list[str]] = {}
    for item in items:
        reasons.setdefault(item.reason, []).append(item.option)
    yield from (f"{', '.join(dict.fromkeys(options))}: {reason}" for reason, options in reasons.items())


def _last_per_field(lines: Sequence[Line]) -> list[Line]:
    """One line for each field; the last one wins."""
    return list({line.field: line for line in lines}.values())


def _drop_invalid_lines(lines: list[Line]) -> tuple[list[Line], list[Dropped]]:
    """Split the lines into those that load together and those that had to be dropped."""
    dropped: list[Dropped] = []
    while True:
        try:
            RunConfig.model_validate(tomllib.loads(run_text(lines, [])))
        except ValidationError as failure:
            error = failure.errors()[0]
            message = schema_error_text(error, RunConfig)
            wrong = _line_at_fault(error, lines)
            if wrong is None:
                raise UserError(
                    f"the run file cannot be made: {message}", code=validation_error_code(failure)
                ) from None
            lines = [line for line in lines if line is not wrong]
            origin = wrong.origin or f"{wrong.field} = {shown(wrong.value)}"
            dropped.append(Dropped(origin, message, code="invalid-value", names=wrong.options))
        else:
            return lines, dropped


def _line_at_fault(error: Any, lines: Sequence[Line]) -> Line | None:
    """Line that a validation error is about: the field itself, or the one in its section that has to change."""
    location = re.sub(r"\.(\d+)", r"[\1]", ".".join(str(part) for part in error["loc"]))
    exact = [
        line for line in lines if location == line.field or location.startswith((f"{line.field}.", f"{line.field}["))
    ]
    if exact:
        return exact[0]
    underlying = user_error_in(error)
    candidates = [line for line in lines if line.field.startswith(f"{location}.") or (not location and line.section)]
    field = "" if underlying is None else underlying.field
    return next((line for line in candidates if line.field.rpartition(".")[2] == field), None)
