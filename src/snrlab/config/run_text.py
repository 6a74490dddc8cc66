"""A run file as people write one: with a head, and with the reason above each field."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tomlkit

from snrlab.config.run import RunConfig

WIDTH = 100


@dataclass(frozen=True)
class Stated:
    """A field, `section.field` or one at the top, with its value and the reason for it."""

    name: str
    value: Any
    why: str = ""

    @property
    def section(self) -> str:
        """The section it belongs to; empty at the top."""
        return self.name.rpartition(".")[0]


def run_text(fields: Sequence[Stated], head: Sequence[str]) -> str:
    r"""The run file: head lines as comments, then sections in their order, fields in theirs.

    >>> print(run_text([Stated("data.folder", "C:\\pictures", "Where they are."), Stated("name", "a")], ["Mine."]))
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
    for section in ("", *(name for name in RunConfig.model_fields)):
        own = [field for field in fields if field.section == section]
        if own:
            lines = [f"[{section}]"] if section else []
            for field in own:
                lines += [_comment(field.why)] if field.why else []
                lines.append(f"{field.name.rpartition('.')[2]} = {_toml(field.value)}")
            parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _comment(text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent="# ", subsequent_indent="# ") if text else "#"


def _toml(value: Any) -> str:
    """A value as TOML; a path of Windows in quotes that leave it as it is."""
    if isinstance(value, str):
        literal = "\\" in value and "'" not in value
        return tomlkit.string(value, literal=literal).as_string()
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        items = [_toml(item) for item in value]
        whole = f"[{', '.join(items)}]"
        return whole if len(whole) <= WIDTH else "[\n" + "".join(f"    {item},\n" for item in items) + "]"
    return tomlkit.item(value).as_string()
