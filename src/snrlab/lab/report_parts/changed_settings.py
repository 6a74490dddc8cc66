"""Settings of a run that differ from their defaults."""

from __future__ import annotations

import html

from snrlab.config import RunConfig
from snrlab.config.field_values import differ, field_values, value_text
from snrlab.lab.blocks import html_table

_LEFT_OUT = {"name"}  # the title of the page


def changed_settings(config: RunConfig) -> list[tuple[str, str, str]]:
    """(field, value, default) of every field whose value is not its default, as text."""
    left_out = _LEFT_OUT | {f"data.{option}" for option in config.data.ignored_options}
    return [
        (each.field, value_text(each.value), value_text(each.default))
        for each in field_values(config)
        if each.field not in left_out
        and not (each.field.startswith("lora.") and config.train.method == "full")
        and each.value is not None
        and differ(each.value, each.default)
    ]


def settings_section(config: RunConfig, run_toml: str) -> str:
    """The section of settings: those that differ from their defaults, and all of them folded."""
    table = html_table(("setting", "this run", "default"), changed_settings(config))
    return (
        f'<h2>Settings that differ from the defaults</h2><div class="settings">{table}</div>'
        f"<details><summary>All settings, as run.toml has them</summary><pre>{html.escape(run_toml)}</pre></details>"
    )
