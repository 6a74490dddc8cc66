"""Removal of this machine's folders from a run and from texts about it, so that they can be shared."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from pydantic import BaseModel

from snrlab.config.run import RunConfig
from snrlab.core.registries.registry import Choice

# fields that never hold a path (a prompt may begin with "/imagine"); absolute paths in all others lose their folders
TEXT_FIELDS = {
    "prompts", "negative", "caption", "caption_prefix", "caption_suffix", "caption_separator", "secondary_separator",
    "keep_tokens_separator", "title", "author", "description", "license", "tags", "trigger_phrase", "project",
}  # fmt: skip
_MODULE_ROOTS = ("site-packages", "dist-packages", "lib", "src")  # a module's path is cut after the last of these
_PATH = re.compile(r"""(?<![\w.:/\\])(?:[A-Za-z]:[\\/]|/)[^\s'"<>|*?,;:)\]]*[^\s'"<>|*?,;:)\].]""")


def without_paths(config: RunConfig) -> RunConfig:
    """The run with every path reduced to its last name.

    The paths of a resolved run are absolute, so relative ones need no attention.
    """
    return RunConfig.model_construct(**_cut_fields(dict(config)))


def cut_paths(text: str, config: RunConfig) -> str:
    """A text, such as a traceback, with each absolute path reduced to the part that is the same on every machine.

    Paths of the run may contain spaces, which no pattern could recognise, so they are replaced first.
    """
    known_paths = {*_paths(dict(config)), str(Path.home()), str(Path.cwd())}
    for path in sorted((path for path in known_paths if len(path) > 1), key=len, reverse=True):
        text = text.replace(path, f"/{last_name(path)}")
    return _PATH.sub(lambda match: _module_or_name(match[0]), text)


def last_name(path: str) -> str:
    """Last name of an absolute path; any other text unchanged.

    >>> last_name("/home/someone/models/base"), last_name("C:/Users/me/cats"), last_name("cats/dogs"), last_name("/")
    ('base', 'cats', 'cats/dogs', '/')
    """
    for kind in (PurePosixPath, PureWindowsPath):
        if kind(path).is_absolute():
            return kind(path).name or path
    return path


def _cut_fields(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value if name in TEXT_FIELDS else _cut(value) for name, value in fields.items()}


def _cut(value: Any) -> Any:
    match value:
        case str():
            return last_name(value)
        case list() | tuple():
            return type(value)(_cut(item) for item in value)
        case dict():
            return _cut_fields(value)
        case Choice():
            return replace(value, values=tuple(_cut_fields(dict(value.values)).items()))
        case BaseModel():
            return value.model_copy(update=_cut_fields(dict(value)))
    return value


def _paths(value: Any) -> Iterator[str]:
    """Every absolute path in the fields of a run."""
    match value:
        case str() if last_name(value) != value:
            yield value
        case list() | tuple():
            for item in value:
                yield from _paths(item)
        case dict():
            for name, item in value.items():
                if name not in TEXT_FIELDS:
                    yield from _paths(item)
        case Choice():
            yield from _paths(dict(value.values))
        case BaseModel():
            yield from _paths(dict(value))


def _module_or_name(path: str) -> str:
    """A module's path after its last folder in _MODULE_ROOTS; the last name of any other path.

    >>> _module_or_name("/home/me/env/lib/python3.12/site-packages/torch/nn/modules.py")
    'torch/nn/modules.py'
    >>> _module_or_name("C:/Users/me/a.png")
    'a.png'
    """
    kind = PureWindowsPath if re.match(r"[A-Za-z]:", path) else PurePosixPath
    names = kind(path).parts
    roots = [index for index, name in enumerate(names[:-1]) if name in _MODULE_ROOTS]
    return "/".join(names[roots[-1] + 1 :]) if roots and path.endswith(".py") else names[-1]
