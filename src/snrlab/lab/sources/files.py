"""Opening files that may be anything: bounded in size and time, one clear message for what is not what it should be."""

from __future__ import annotations

import json
import struct
import tomllib
from pathlib import Path
from typing import Any

from snrlab.core.errors import UserError

LARGEST_TEXT = 8 * 2**20  # bytes; the largest real configuration files have some hundred kilobytes
LARGEST_HEADER = 100 * 2**20  # what the safetensors library itself accepts
PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")


def read_text(path: Path) -> str:
    """The text of a configuration file.

    Raises:
        UserError: not there, not a file, too large, or not UTF-8.
    """
    size = _size(path)
    if size > LARGEST_TEXT:
        raise UserError(f"{path.name} has {size / 2**20:.0f} MiB; a configuration has at most {LARGEST_TEXT >> 20}.")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path.name} is not UTF-8 text, so it is no configuration.") from None
    except OSError as reason:
        raise UserError(f"{path.name} cannot be read ({reason.strerror}).") from None


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file (UserError where it is none)."""
    try:
        return tomllib.loads(read_text(path))
    except (tomllib.TOMLDecodeError, RecursionError) as reason:
        raise UserError(f"{path.name} is not valid TOML: {reason}.") from None


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file (UserError where it is none)."""
    return parse_json(read_text(path), path.name)


def parse_json(text: str, name: str) -> dict[str, Any]:
    """The object in a JSON text (UserError where it is none)."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as reason:
        raise UserError(f"{name} is not valid JSON: {reason}.") from None
    if not isinstance(found, dict):
        raise UserError(f"{name} holds a JSON {type(found).__name__}; an object is needed.")
    return found


def read_header(path: Path) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """(metadata, tensors by name with dtype, shape and offsets) of a safetensors file; no tensor is read.

    Raises:
        UserError: a pickle, or no safetensors file.
    """
    if path.suffix.lower() in PICKLES:
        raise UserError(f"{path.name} is a pickle, which can run code when opened; save it as safetensors first.")
    size = _size(path)
    try:
        with path.open("rb") as file:
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if not 2 <= length <= min(size - 8, LARGEST_HEADER):
                raise UserError(f"{path.name} is no safetensors file: it does not begin with the length of a header.")
            text = file.read(length).decode("utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{path.name} is no safetensors file: its header is not text.") from None
    except OSError as reason:
        raise UserError(f"{path.name} cannot be read ({reason.strerror}).") from None
    header = parse_json(text, f"the header of {path.name}")
    metadata = header.pop("__metadata__", {})
    tensors = {name: facts for name, facts in header.items() if isinstance(facts, dict) and "shape" in facts}
    if len(tensors) != len(header) or not isinstance(metadata, dict):
        raise UserError(f"{path.name} is no safetensors file: its header lists things that are no tensors.")
    return {str(k): str(v) for k, v in metadata.items()}, tensors


def _size(path: Path) -> int:
    try:
        if path.is_dir():
            raise UserError(f"{path} is a folder, not a file.")
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is not an ordinary file.")
        return path.stat().st_size
    except FileNotFoundError:
        raise UserError(f"there is no file {path}.") from None
    except (OSError, RuntimeError) as reason:
        text = reason.strerror if isinstance(reason, OSError) else str(reason)
        raise UserError(f"{path} cannot be opened ({text}).") from None
