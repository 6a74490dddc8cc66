"""A run file as people write one: with a head, and with the reason above each field."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tomlkit

from snrlab.config.run import RunConfig

WIDTH = 100
SAID_MOST = 44  # characters of a line that has a word behind it


@dataclass(frozen=True)
class Line:
    """A field with its value and the reason for it.

    Attributes:
        name: `section.field`, `data.sets[0].field`, or a field at the top.
        value: as TOML has it.
        why: the reason, written above it.
        said: a word on where the value is from, written behind it.
        options: the options of another program that it is from, by their names.
    """

    name: str
    value: Any
    why: str = ""
    said: str = ""
    options: tuple[str, ...] = ()

    @property
    def section(self) -> str:
        """The section it belongs to; empty at the top."""
        return self.name.rpartition(".")[0]


def run_text(fields: Sequence[Line], head: Sequence[str]) -> str:
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
    names = list(dict.fromkeys(field.section for field in fields))
    for section in ("", *RunConfig.model_fields):
        for name in (name for name in names if name.partition("[")[0].removesuffix(".sets") == section):
            parts.append("\n".join(_section(name, [field for field in fields if field.section == name])))
    return "\n\n".join(parts) + "\n"


def _section(name: str, fields: Sequence[Line]) -> list[str]:
    """A section's heading and lines; one of several sets of images is a table of its own."""
    lines = [f"[[{name.partition('[')[0]}]]" if "[" in name else f"[{name}]"] if name else []
    values = [f"{field.name.rpartition('.')[2]} = {toml(field.value)}" for field in fields]
    column = min(SAID_MOST, max((len(value) for value in values), default=0))
    for field, value in zip(fields, values, strict=True):
        lines += [_comment(field.why)] if field.why else []
        if field.said and ("\n" in value or len(value) > SAID_MOST):
            lines += [_comment(field.said), value]
        else:
            lines.append(f"{value:<{column}}  # {field.said}" if field.said else value)
    return lines


def _comment(text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent="# ", subsequent_indent="# ") if text else "#"


def toml(value: Any) -> str:
    """A value as TOML; a path of Windows in quotes that leave it as it is."""
    if isinstance(value, str):
        literal = "\\" in value and "'" not in value
        return tomlkit.string(value, literal=literal).as_string()
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        items = [toml(item) for item in value]
        whole = f"[{', '.join(items)}]"
        return whole if len(whole) <= WIDTH else "[\n" + "".join(f"    {item},\n" for item in items) + "]"
    return tomlkit.item(value).as_string()


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else tomlkit.string(name).as_string()
