"""Text of a run file as people write one: comments at the head, and a reason above each field."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tomlkit

from snrlab.config.run import RunConfig

LINE_WIDTH = 100
MAX_ORIGIN_COLUMN = 44  # widest line with a comment behind its value


@dataclass(frozen=True)
class Line:
    """Field of a run file with its value and the reason for it.

    Attributes:
        field: `section.field`, `data.sets[0].field`, or a field at the top.
        value: value as TOML has it.
        reason: comment above the field.
        origin: comment behind the value, on where it comes from.
        options: names of the options of another program that the value comes from.
    """

    field: str
    value: Any
    reason: str = ""
    origin: str = ""
    options: tuple[str, ...] = ()

    @property
    def section(self) -> str:
        """The section it belongs to; empty at the top."""
        return self.field.rpartition(".")[0]


def run_text(lines: Sequence[Line], head: Sequence[str]) -> str:
    r"""The run file: head lines as comments, then sections in their order, fields in theirs.

    >>> print(run_text([Line("data.folder", "C:\\pictures", "Where they are."), Line("name", "a")], ["Mine."]))
    # Mine.
    <BLANKLINE>
    name = "a"
    <BLANKLINE>
    [data]
    # Where they are.
    folder = 'C:\pictures'
    <BLANKLINE>
    """
    parts = ["\n".join(_comment(line) for line in head)]
    names = list(dict.fromkeys(line.section for line in lines))
    for section in ("", *RunConfig.model_fields):
        for name in (name for name in names if name.partition("[")[0].removesuffix(".sets") == section):
            parts.append("\n".join(_section(name, [line for line in lines if line.section == name])))
    return "\n\n".join(parts) + "\n"


def _section(name: str, fields: Sequence[Line]) -> list[str]:
    """Heading and lines of a section; each set of images is a table of its own."""
    lines = [f"[[{name.partition('[')[0]}]]" if "[" in name else f"[{name}]"] if name else []
    values = [f"{line.field.rpartition('.')[2]} = {format_toml(line.value)}" for line in fields]
    column = min(MAX_ORIGIN_COLUMN, max((len(value) for value in values), default=0))
    for line, value in zip(fields, values, strict=True):
        lines += [_comment(line.reason)] if line.reason else []
        if line.origin and ("\n" in value or len(value) > MAX_ORIGIN_COLUMN):
            lines += [_comment(line.origin), value]
        else:
            lines.append(f"{value:<{column}}  # {line.origin}" if line.origin else value)
    return lines


def _comment(text: str) -> str:
    return textwrap.fill(text, LINE_WIDTH, initial_indent="# ", subsequent_indent="# ") if text else "#"


def format_toml(value: Any) -> str:
    """A value as TOML; text with backslashes, such as a Windows path, in quotes without escapes."""
    if isinstance(value, str):
        literal = "\\" in value and "'" not in value
        return tomlkit.string(value, literal=literal).as_string()
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {format_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        items = [format_toml(item) for item in value]
        one_line = f"[{', '.join(items)}]"
        return one_line if len(one_line) <= LINE_WIDTH else "[\n" + "".join(f"    {item},\n" for item in items) + "]"
    return tomlkit.item(value).as_string()


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else tomlkit.string(name).as_string()
