"""Writing safetensors files so that equal content gives equal bytes, and never half of them."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from torch import Tensor


def to_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file in memory, its header sorted (the library leaves the metadata's order open)."""
    raw = safetensors.torch.save(dict(tensors), dict(metadata))
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + size])
    ordered = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    ordered |= {k: header[k] for k in sorted(header) if k != "__metadata__"}
    text = json.dumps(ordered, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors start on a multiple of eight bytes
    return struct.pack("<Q", len(text)) + text + raw[8 + size :]


def write_atomically(path: Path, content: bytes) -> None:
    """Write under a temporary name, flush to disk, rename: the file is whole or not there."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def kohya_hashes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, str]:
    """The two hashes by which web UIs recognise a LoRA, over the tensors and the `ss_` metadata."""
    raw = to_bytes(tensors, {k: v for k, v in metadata.items() if k.startswith("ss_")})
    start = 8 + struct.unpack("<Q", raw[:8])[0]
    return {
        "sshs_model_hash": hashlib.sha256(raw[start:]).hexdigest(),
        "sshs_legacy_hash": hashlib.sha256(raw[0x100000:0x110000]).hexdigest()[:8],
    }
