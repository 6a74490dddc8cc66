"""Reading configuration files: text, TOML and JSON."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from snrlab.core.errors import UserError

_T = TypeVar("_T")
LARGEST_TEXT = 8 * 2**20  # bytes; the largest real configuration files have a few hundred kilobytes


def read_text(path: Path) -> str:
    """Read the text of a configuration file.

    Raises:
        UserError: the file is missing, not an ordinary file, too large, or not UTF-8.
    """
    size = regular_file_size(path)
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
    """Read a TOML file (UserError if it is invalid)."""
    text = read_text(path)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as reason:
        raise UserError(f"{path.name} is not valid TOML: {reason}.", code="invalid-toml") from None


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object (UserError if it does not)."""
    return parse_json(read_text(path), path.name)


def read_json_list(path: Path) -> list[Any]:
    """Read a JSON file that holds an array (UserError if it does not)."""
    return _parse(read_text(path), path.name, list, "an array")


def read_any_json(path: Path) -> dict[str, Any] | list[Any]:
    """Read a JSON file that holds an object or an array (UserError if it holds neither)."""
    text = read_text(path)
    if text.lstrip().startswith("["):
        return _parse(text, path.name, list, "an array")
    return parse_json(text, path.name)


def parse_json(text: str, name: str) -> dict[str, Any]:
    """Parse JSON text that holds an object (UserError if it does not)."""
    return _parse(text, name, dict, "an object")


def _parse(text: str, name: str, kind: type[_T], expected: str) -> _T:
    try:
        value = json.loads(text, object_pairs_hook=dict_of_unique_keys)
    except (ValueError, RecursionError) as reason:
        raise UserError(f"{name} is not valid JSON: {reason}.", code="invalid-json") from None
    if not isinstance(value, kind):
        raise UserError(f"{name} holds a JSON {type(value).__name__}; {expected} is needed.", code="invalid-content")
    return value


def dict_of_unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON object from its pairs; ValueError for a repeated key, since readers disagree about which one counts.

    >>> dict_of_unique_keys([("a", 1), ("b", 2)])
    {'a': 1, 'b': 2}
    """
    unique = dict(pairs)
    if len(unique) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"'{next(n for n in names if names.count(n) > 1)}' is given twice")
    return unique


def regular_file_size(path: Path, field: str = "") -> int:
    """Size in bytes of an ordinary file (UserError for anything else, since a pipe or a device might never end).

    `field` names the option that holds the path, for messages.
    """
    prefix = f"{field}: " if field else ""
    try:
        if path.is_dir():
            raise UserError(f"{prefix}{path} is a folder, not a file.", code="not-a-file")
        if path.exists() and not path.is_file():
            raise UserError(f"{prefix}{path} is not an ordinary file.", code="not-a-file")
        return path.stat().st_size
    except FileNotFoundError:
        raise UserError(f"{prefix}there is no file {path}.", code="missing-file") from None
    except (OSError, RuntimeError) as reason:
        text = reason.strerror if isinstance(reason, OSError) else str(reason)
        raise UserError(f"{prefix}{path} cannot be opened ({text}).", code="unreadable-file") from None
