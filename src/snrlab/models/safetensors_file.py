"""Writing safetensors files so that equal content gives equal bytes, and never half of them."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

# number formats by their names in a file
FORMATS = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


@dataclass(frozen=True)
class Pending:
    """A tensor to be written: its place in the file is known before it is made."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    make: Callable[[], Tensor]

    @property
    def size(self) -> int:
        """Bytes."""
        return self.dtype.itemsize * torch.Size(self.shape).numel()


def pending(tensors: Mapping[str, Tensor]) -> list[Pending]:
    """Tensors that are there already, in their own formats."""
    return [Pending(name, tuple(t.shape), t.dtype, partial(Tensor.detach, t)) for name, t in tensors.items()]


def write_tensors(
    path: Path, tensors: Iterable[Pending], metadata: Mapping[str, str], largest: int | None = None
) -> None:
    """Write a file tensor by tensor, so that never more than one is in memory twice; whole or not at all.

    With `largest` tensors of more bytes are left out: a file for trying whether writing works.
    """
    # wide formats first, as the library does: then every tensor starts on a multiple of its own width
    ordered = sorted(
        (t for t in tensors if largest is None or t.size <= largest), key=lambda t: (-t.dtype.itemsize, t.name)
    )
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    for tensor in ordered:
        place = [end, end := end + tensor.size]
        header[tensor.name] = {"dtype": FORMATS[tensor.dtype], "shape": list(tensor.shape), "data_offsets": place}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in ordered:
            value = tensor.make().detach().to("cpu", tensor.dtype).contiguous().flatten()
            file.write(value.view(torch.uint8).numpy().data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


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
