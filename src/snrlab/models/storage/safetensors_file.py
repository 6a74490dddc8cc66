"""Writing safetensors files: deterministic bytes, atomic writes, and a checksum (seal) that reveals damage."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from snrlab.files.writing import atomically

# number formats by their names in a file
_FORMATS = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
SEAL = "checksum"
UNSEALED = "0" * 8
_BLOCK = 16 * 2**20  # bytes read at a time
LARGEST_HEADER = 100 * 10**6  # bytes; the limit of the safetensors library


@dataclass(frozen=True)
class PendingTensor:
    """A tensor to be written, whose place in the file is known before its values are computed."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    make: Callable[[], Tensor]

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self.dtype.itemsize * torch.Size(self.shape).numel()


def pending(tensors: Mapping[str, Tensor]) -> list[PendingTensor]:
    """Existing tensors as pending ones, in their own number formats."""
    return [PendingTensor(name, tuple(t.shape), t.dtype, partial(Tensor.detach, t)) for name, t in tensors.items()]


def write_tensors(
    path: Path,
    tensors: Iterable[PendingTensor],
    metadata: Mapping[str, str],
    largest: int | None = None,
    *,
    sealed: bool = False,
) -> None:
    """Write a file atomically and tensor by tensor, so that at most one tensor is in memory twice.

    With `largest`, tensors of more bytes are left out: a trial of whether writing works. A `sealed` file has a checksum
    of its whole content in its metadata.

    Raises:
        WriteError: the disk is full, or the folder cannot be written to.
    """
    # wide formats first, as the library does, so that every tensor is aligned to its element size
    ordered = sorted(
        (t for t in tensors if largest is None or t.size <= largest), key=lambda t: (-t.dtype.itemsize, t.name)
    )
    entries = dict(sorted(({**metadata, SEAL: UNSEALED} if sealed else metadata).items()))
    header: dict[str, object] = {"__metadata__": entries} if entries else {}
    end = 0
    for tensor in ordered:
        offsets = [end, end := end + tensor.size]
        header[tensor.name] = {"dtype": _FORMATS[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    preamble = struct.pack("<Q", len(text)) + text
    with atomically(path, len(preamble) + end) as file:
        checksum = zlib.crc32(preamble)
        file.write(preamble)
        for tensor in ordered:
            value = tensor.make().detach().to("cpu", tensor.dtype).contiguous().flatten()
            content = value.view(torch.uint8).numpy().data
            file.write(content)
            if sealed:
                checksum = zlib.crc32(content, checksum)
        if sealed:
            file.seek(preamble.index(_seal_entry(UNSEALED)))
            file.write(_seal_entry(f"{checksum:08x}"))


def damage(path: Path) -> str | None:
    """The damage to a sealed file, in words; None where its content matches its checksum."""
    try:
        with path.open("rb") as file:
            length = struct.unpack("<Q", file.read(8))[0]
            text = file.read(min(length, LARGEST_HEADER))
            recorded = json.loads(text)["__metadata__"][SEAL]
            checksum = zlib.crc32(
                struct.pack("<Q", length) + text.replace(_seal_entry(recorded), _seal_entry(UNSEALED), 1)
            )
            while block := file.read(_BLOCK):
                checksum = zlib.crc32(block, checksum)
    except OSError as reason:
        return f"it cannot be read ({reason.strerror or reason})"
    except (ValueError, KeyError, TypeError, struct.error):
        return "it is truncated, or not a checkpoint of this version"
    return None if f"{checksum:08x}" == recorded else "its checksum is not that of its content"


def _seal_entry(checksum: str) -> bytes:
    """The header's bytes for a checksum."""
    return f'"{SEAL}":"{checksum}"'.encode()


def to_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file as bytes, with a sorted header (the library does not fix the metadata's order)."""
    raw = safetensors.torch.save(dict(tensors), dict(metadata))
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + size])
    ordered = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    ordered |= {k: header[k] for k in sorted(header) if k != "__metadata__"}
    text = json.dumps(ordered, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors are aligned to eight bytes
    return struct.pack("<Q", len(text)) + text + raw[8 + size :]


def kohya_hashes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, str]:
    """The two hashes by which web UIs recognise a LoRA, over the tensors and the `ss_` metadata."""
    raw = to_bytes(tensors, {k: v for k, v in metadata.items() if k.startswith("ss_")})
    start = 8 + struct.unpack("<Q", raw[:8])[0]
    return {
        "sshs_model_hash": hashlib.sha256(raw[start:]).hexdigest(),
        "sshs_legacy_hash": hashlib.sha256(raw[0x100000:0x110000]).hexdigest()[:8],
    }
