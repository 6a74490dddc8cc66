"""Header of a safetensors file: names, shapes and number formats of its tensors, and metadata. Needs no torch."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Any

from snrlab.core.errors import UserError
from snrlab.files.text import dict_of_unique_keys, regular_file_size

PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")
_MAX_HEADER = 100_000_000  # bytes of a header; the format allows no more
MAX_AXES, MAX_AXIS = 16, 1 << 48  # number of axes of a tensor, and length of one; more is no real tensor


@dataclass(frozen=True)
class Header:
    """Header of a safetensors file.

    Attributes:
        field: run-file field or option that named the file, for messages.
        shapes, formats: shape and number format (`F16`, ...) of each tensor, by name.
        offsets: byte range [begin, end) of each tensor in the file.
        length: size of the file in bytes.
    """

    path: Path
    field: str
    shapes: Mapping[str, tuple[int, ...]]
    formats: Mapping[str, str]
    metadata: Mapping[str, str]
    offsets: Mapping[str, tuple[int, int]] = dataclass_field(default_factory=dict)
    length: int = 0

    @property
    def where(self) -> str:
        """Field and file name, as messages about the file begin."""
        return f"{self.field}: {self.path.name}"

    def has(self, prefix: str) -> bool:
        """Whether any tensor's name starts with `prefix`."""
        return any(name.startswith(prefix) for name in self.shapes)


def read_header(path: Path, field: str = "model.path") -> Header:
    """Read the header of a safetensors file.

    Args:
        path: the file.
        field: run-file field or option that named it, for messages.

    Raises:
        UserError: the file is missing, a pickle, cut short or no safetensors file.
    """
    refuse_pickle(path, field)
    length = regular_file_size(path, field)
    try:
        with path.open("rb") as file:
            first_bytes = file.read(8)
            size = struct.unpack("<Q", first_bytes)[0] if len(first_bytes) == 8 else 0
            header_bytes = file.read(size) if 2 <= size <= _MAX_HEADER else b""
    except OSError as error:
        raise UserError(f"{field}: {path} cannot be read ({error.strerror}).", code="unreadable-file") from None
    if 2 <= size <= _MAX_HEADER and len(header_bytes) < size and not _likely_kind(first_bytes):
        raise UserError(_cut_short(path, field, length, 8 + size), code="damaged-file")
    try:
        content = json.loads(header_bytes, object_pairs_hook=dict_of_unique_keys)
        metadata = {str(k): str(v) for k, v in content.pop("__metadata__", {}).items()}
        offsets = {name: _parse_offsets(entry["data_offsets"], 8 + size) for name, entry in content.items()}
        shapes = {name: _parse_shape(entry["shape"]) for name, entry in content.items()}
        formats = {name: str(entry["dtype"]) for name, entry in content.items()}
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise UserError(
            f"{field}: {path} is not a safetensors file{_likely_kind(first_bytes)}.", code="wrong-file"
        ) from None
    expected_length = max((end for _, end in offsets.values()), default=0)
    if length < expected_length:
        raise UserError(_cut_short(path, field, length, expected_length), code="damaged-file")
    return Header(path, field, shapes, formats, metadata, offsets, length)


def _parse_offsets(entry: list[int], data_start: int) -> tuple[int, int]:
    """Byte range of a tensor in the file, from its offsets after the header; ValueError if they are invalid."""
    begin, end = entry
    if not (type(begin) is int and type(end) is int and 0 <= begin <= end):
        raise ValueError(entry)
    return data_start + begin, data_start + end


def _parse_shape(sizes: list[int]) -> tuple[int, ...]:
    """Shape of a tensor; ValueError if it is invalid."""
    if len(sizes) > MAX_AXES or not all(type(size) is int and 0 <= size <= MAX_AXIS for size in sizes):
        raise ValueError(sizes)
    return tuple(sizes)


def refuse_pickle(path: Path, field: str) -> None:
    """Raise UserError for a file whose suffix marks a pickle; the message says how to convert it."""
    if path.suffix.lower() in PICKLES:
        raise UserError(
            f"{field}: {path} is a pickle, which can run any program when it is opened, so it never is. Take the "
            ".safetensors file of the same model, or make one with the program that you have trusted it to so far "
            "(A1111: Checkpoint Merger, 'No interpolation', safetensors; ComfyUI: Save Checkpoint; diffusers: "
            "save_pretrained).",
            code="pickle-refused",
        )


def _cut_short(path: Path, field: str, length: int, expected: int) -> str:
    """Message about a file shorter than its header says."""
    return (
        f"{field}: {path} is cut short: {length:,} bytes of at least {expected:,} are there. Download or copy it again."
    )


def _likely_kind(start: bytes) -> str:
    """Likely kind of a file from its first bytes, with advice, as the end of a sentence; empty if unknown."""
    if start.startswith((b"PK", b"\x80")):
        return ": it is a pickle under another name. Take the safetensors file of the same model"
    if start.startswith(b"version "):
        return ": it is a Git LFS pointer. Run `git lfs pull` in its folder"
    if start.lstrip().startswith(b"<"):
        return ": it is a web page. Download it again, logged in where the site asks for that"
    return ""


def metadata_of(header: Header, key: str) -> dict[str, Any]:
    """Metadata entry that holds a JSON object; empty if the key is missing.

    Raises:
        UserError: the entry is not a JSON object.
    """
    try:
        entry = json.loads(header.metadata.get(key, "{}"))
    except (ValueError, RecursionError):
        entry = None
    if not isinstance(entry, dict):
        raise UserError(f"{header.path}: its metadata '{key}' is not a JSON object.", code="invalid-json")
    return entry
