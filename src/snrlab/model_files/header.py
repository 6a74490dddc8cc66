"""What a safetensors file says before its weights; read without torch, in a moment."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as fresh
from pathlib import Path
from typing import Any

from snrlab.core.errors import UserError
from snrlab.files.text import size_of, without_repeats

PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")
_LARGEST = 100_000_000  # bytes of a header; the format allows no more
MOST_AXES, LONGEST_AXIS = 16, 1 << 48  # of a tensor; more would only cost time


@dataclass(frozen=True)
class Header:
    """Names, shapes and number formats (`F16`, ...) of the tensors of a file, and its metadata.

    Attributes:
        field: what the user gave the file as, for messages.
        places: first byte in the file of each tensor, and the one after its last.
        length: bytes of the file.
    """

    path: Path
    field: str
    shapes: Mapping[str, tuple[int, ...]]
    formats: Mapping[str, str]
    metadata: Mapping[str, str]
    places: Mapping[str, tuple[int, int]] = fresh(default_factory=dict)
    length: int = 0

    @property
    def where(self) -> str:
        """How a message about the file begins."""
        return f"{self.field}: {self.path.name}"

    def has(self, beginning: str) -> bool:
        """Whether a tensor's name begins so."""
        return any(name.startswith(beginning) for name in self.shapes)


def read_header(path: Path, field: str = "model.path") -> Header:
    """Read the header of a safetensors file.

    Args:
        path: the file.
        field: what the user gave it as, for messages.

    Raises:
        UserError: no such file, a pickle, cut short, or something else.
    """
    refuse_pickle(path, field)
    length = size_of(path, field)
    try:
        with path.open("rb") as file:
            start = file.read(8)
            size = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            raw = file.read(size) if 2 <= size <= _LARGEST else b""
    except OSError as reason:
        raise UserError(f"{field}: {path} cannot be read ({reason.strerror}).", code="unreadable-file") from None
    if 2 <= size <= _LARGEST and len(raw) < size and not _what_instead(start):
        raise UserError(_cut_short(path, field, length, 8 + size), code="damaged-file")
    try:
        content = json.loads(raw, object_pairs_hook=without_repeats)
        metadata = {str(k): str(v) for k, v in content.pop("__metadata__", {}).items()}
        places = {name: _place(entry["data_offsets"], 8 + size) for name, entry in content.items()}
        shapes = {name: _shape(entry["shape"]) for name, entry in content.items()}
        formats = {name: str(entry["dtype"]) for name, entry in content.items()}
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise UserError(
            f"{field}: {path} is not a safetensors file{_what_instead(start)}.", code="wrong-file"
        ) from None
    whole = max((end for _, end in places.values()), default=0)
    if length < whole:
        raise UserError(_cut_short(path, field, length, whole), code="damaged-file")
    return Header(path, field, shapes, formats, metadata, places, length)


def _place(offsets: list[int], start: int) -> tuple[int, int]:
    """Where a tensor lies, ValueError where no tensor can."""
    begin, end = offsets
    if not (type(begin) is int and type(end) is int and 0 <= begin <= end):
        raise ValueError(offsets)
    return start + begin, start + end


def _shape(sizes: list[int]) -> tuple[int, ...]:
    """A tensor's shape, ValueError where it is none."""
    if len(sizes) > MOST_AXES or not all(type(size) is int and 0 <= size <= LONGEST_AXIS for size in sizes):
        raise ValueError(sizes)
    return tuple(sizes)


def refuse_pickle(path: Path, field: str) -> None:
    """Refuse a file whose name says that it is a pickle, with a way out (UserError)."""
    if path.suffix.lower() in PICKLES:
        raise UserError(
            f"{field}: {path} is a pickle, which can run any program when it is opened, so it never is. Take the "
            ".safetensors file of the same model, or make one with the program that you have trusted it to so far "
            "(A1111: Checkpoint Merger, 'No interpolation', safetensors; ComfyUI: Save Checkpoint; diffusers: "
            "save_pretrained).",
            code="pickle-refused",
        )


def _cut_short(path: Path, field: str, length: int, whole: int) -> str:
    return f"{field}: {path} is cut short: {length:,} bytes of at least {whole:,} are there. Get it again."


def _what_instead(start: bytes) -> str:
    if start.startswith((b"PK", b"\x80")):
        return ": it is a pickle under another name. Take the safetensors file of the same model"
    if start.startswith(b"version "):
        return ": it is a pointer of Git LFS. Run `git lfs pull` in its folder"
    if start.lstrip().startswith(b"<"):
        return ": it is a web page. Download it again, logged in where the site asks for that"
    return ""


def metadata_of(header: Header, key: str) -> dict[str, Any]:
    """A metadata entry that holds a JSON object, empty where there is none (UserError where it is another thing)."""
    try:
        found = json.loads(header.metadata.get(key, "{}"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{header.path}: its metadata '{key}' is not a JSON object.", code="invalid-json")
    return found
