"""A run without the folders of this machine: what may be passed on."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from snrlab.config.run import RunConfig

TEXTS = {"prompts", "negative", "caption", "title", "author", "description", "trigger_phrase"}  # never a path


def shareable(config: RunConfig) -> RunConfig:
    """The run with every path cut to its last name.

    A resolved run holds its paths in full, so what is an absolute path is one.
    """
    return RunConfig.model_construct(
        **{
            name: section.model_copy(update=_cut(dict(section))) if hasattr(section, "model_copy") else section
            for name, section in config
        }
    )


def _cut(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value if name in TEXTS else _shortened(value) for name, value in fields.items()}


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        kind = PureWindowsPath if PureWindowsPath(value).is_absolute() else PurePosixPath
        return kind(value).name or value if kind(value).is_absolute() else value
    if isinstance(value, list):
        return [_shortened(item) for item in value]
    if isinstance(value, dict):
        return _cut(value)
    if hasattr(value, "model_copy"):
        return value.model_copy(update=_cut(dict(value)))
    return value
