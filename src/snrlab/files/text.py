"""Configuration files: text, TOML and JSON."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from snrlab.core.errors import UserError

_T = TypeVar("_T")
LARGEST_TEXT = 8 * 2**20  # bytes; the largest real configuration files have some hundred kilobytes


def read_text(path: Path) -> str:
    """The text of a configuration file.

    Raises:
        UserError: not there, not a file, too large, or not UTF-8.
    """
    size = size_of(path)
    if size > LARGEST_TEXT:
        raise UserError(
            f"{path.name} has {size / 2**20:.0f} MiB; a configuration has at most {LARGEST_TEXT >> 20}.",
            code="file-too-large",
        )
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path.name} is not UTF-8 text, so it is no configuration.", code="not-utf8") from None
    except OSError as reason:
        raise UserError(f"{path.name} cannot be read ({reason.strerror}).", code="unreadable-file") from None


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file (UserError where it is none)."""
    text = read_text(path)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as reason:
        raise UserError(f"{path.name} is not valid TOML: {reason}.", code="invalid-toml") from None


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file (UserError where it is none)."""
    return parse_json(read_text(path), path.name)


def read_json_list(path: Path) -> list[Any]:
    """The array in a JSON file (UserError where it is none)."""
    return _parsed(read_text(path), path.name, list, "an array")


def read_any_json(path: Path) -> dict[str, Any] | list[Any]:
    """The object or array in a JSON file (UserError where it is neither)."""
    text = read_text(path)
    if text.lstrip().startswith("["):
        return _parsed(text, path.name, list, "an array")
    return parse_json(text, path.name)


def parse_json(text: str, name: str) -> dict[str, Any]:
    """The object in a JSON text (UserError where it is none)."""
    return _parsed(text, name, dict, "an object")


def _parsed(text: str, name: str, kind: type[_T], needed: str) -> _T:
    try:
        found = json.loads(text, object_pairs_hook=without_repeats)
    except (ValueError, RecursionError) as reason:
        raise UserError(f"{name} is not valid JSON: {reason}.", code="invalid-json") from None
    if not isinstance(found, kind):
        raise UserError(f"{name} holds a JSON {type(found).__name__}; {needed} is needed.", code="invalid-content")
    return found


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, ValueError where a key comes twice: readers disagree which of the two counts.

    >>> without_repeats([("a", 1), ("b", 2)])
    {'a': 1, 'b': 2}
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"'{next(n for n in names if names.count(n) > 1)}' is given twice")
    return found


def size_of(path: Path, field: str = "") -> int:
    """Bytes of an ordinary file (UserError for anything else: a pipe or a device might never end).

    `field` is what the user gave the path as, for messages.
    """
    where = f"{field}: " if field else ""
    try:
        if path.is_dir():
            raise UserError(f"{where}{path} is a folder, not a file.", code="not-a-file")
        if path.exists() and not path.is_file():
            raise UserError(f"{where}{path} is not an ordinary file.", code="not-a-file")
        return path.stat().st_size
    except FileNotFoundError:
        raise UserError(f"{where}there is no file {path}.", code="missing-file") from None
    except (OSError, RuntimeError) as reason:
        text = reason.strerror if isinstance(reason, OSError) else str(reason)
        raise UserError(f"{where}{path} cannot be opened ({text}).", code="unreadable-file") from None
