"""Settings of a run that differ from their defaults."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from snrlab.config import RunConfig
from snrlab.config.run_file_text import format_toml
from snrlab.lab.blocks import html_table

_LEFT_OUT = {"name"}  # the title of the page


def changed_settings(config: RunConfig) -> list[tuple[str, str, str]]:
    """(field, value, default) of every field whose value is not its default, as TOML; the default of some is empty."""
    ignored = config.data.ignored_options
    rows = []
    for name, value, plain, default in _changed(config, config.model_dump(warnings=False), ""):
        unused = name.startswith("lora.") and config.train.method == "full"
        if value is not None and not unused and name not in {*_LEFT_OUT, *(f"data.{option}" for option in ignored)}:
            rows.append((name, _as_toml(plain), _as_toml(default)))
    return rows


def settings_section(config: RunConfig, run_toml: str) -> str:
    """The section of settings: those that differ from their defaults, and all of them folded."""
    table = html_table(("setting", "this run", "default"), changed_settings(config))
    return (
        f'<h2>Settings that differ from the defaults</h2><div class="settings">{table}</div>'
        f"<details><summary>All settings, as run.toml has them</summary><pre>{html.escape(run_toml)}</pre></details>"
    )


def _changed(section: BaseModel, dumped: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any, Any, Any]]:
    """(field, value, its plain form, default) of the fields of a section and its sections that were changed."""
    for name, field in type(section).model_fields.items():
        value, plain = getattr(section, name), dumped[name]
        if isinstance(value, BaseModel):
            yield from _changed(value, plain, f"{prefix}{name}.")
            continue
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        if value != default:
            yield f"{prefix}{name}", value, plain, default


def _as_toml(value: Any) -> str:
    """A value as TOML has it; a dash for none, and the names of values that are no plain ones."""
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_as_toml(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_as_toml(item)}" for key, item in value.items() if item is not None) + " }"
    return format_toml(value) if isinstance(value, str | bool | int | float) else str(value)
