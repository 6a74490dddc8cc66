"""Writing safetensors files so that equal content gives equal bytes, and never half of them; seals that show damage."""

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
_BLOCK = 16 * 2**20  # bytes that are read at once
LARGEST_HEADER = 100 * 10**6  # bytes; the library reads no larger ones


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
    path: Path,
    tensors: Iterable[Pending],
    metadata: Mapping[str, str],
    largest: int | None = None,
    *,
    sealed: bool = False,
) -> None:
    """Write a file tensor by tensor, so that never more than one is in memory twice; whole or not at all.

    With `largest` tensors of more bytes are left out: a file for trying whether writing works. A `sealed` file has a
    checksum of all of it in its metadata.

    Raises:
        WriteError: the disk is full, or the folder cannot be written to.
    """
    # wide formats first, as the library does: then every tensor starts on a multiple of its own width
    ordered = sorted(
        (t for t in tensors if largest is None or t.size <= largest), key=lambda t: (-t.dtype.itemsize, t.name)
    )
    described = dict(sorted(({**metadata, SEAL: UNSEALED} if sealed else metadata).items()))
    header: dict[str, object] = {"__metadata__": described} if described else {}
    end = 0
    for tensor in ordered:
        place = [end, end := end + tensor.size]
        header[tensor.name] = {"dtype": _FORMATS[tensor.dtype], "shape": list(tensor.shape), "data_offsets": place}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    head = struct.pack("<Q", len(text)) + text
    with atomically(path, len(head) + end) as file:
        checksum = zlib.crc32(head)
        file.write(head)
        for tensor in ordered:
            value = tensor.make().detach().to("cpu", tensor.dtype).contiguous().flatten()
            content = value.view(torch.uint8).numpy().data
            file.write(content)
            if sealed:
                checksum = zlib.crc32(content, checksum)
        if sealed:
            file.seek(head.index(_stated(UNSEALED)))
            file.write(_stated(f"{checksum:08x}"))


def damage(path: Path) -> str | None:
    """What is wrong with a sealed file, or None where it is whole, to the bit."""
    try:
        with path.open("rb") as file:
            length = struct.unpack("<Q", file.read(8))[0]
            text = file.read(min(length, LARGEST_HEADER))
            stated = json.loads(text)["__metadata__"][SEAL]
            checksum = zlib.crc32(struct.pack("<Q", length) + text.replace(_stated(stated), _stated(UNSEALED), 1))
            while block := file.read(_BLOCK):
                checksum = zlib.crc32(block, checksum)
    except OSError as reason:
        return f"it cannot be read ({reason.strerror or reason})"
    except (ValueError, KeyError, TypeError, struct.error):
        return "it is cut short, or no checkpoint of this version"
    return None if f"{checksum:08x}" == stated else "its checksum is not that of its content"


def _stated(checksum: str) -> bytes:
    """A checksum as it stands in the header."""
    return f'"{SEAL}":"{checksum}"'.encode()


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


def kohya_hashes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, str]:
    """The two hashes by which web UIs recognise a LoRA, over the tensors and the `ss_` metadata."""
    raw = to_bytes(tensors, {k: v for k, v in metadata.items() if k.startswith("ss_")})
    start = 8 + struct.unpack("<Q", raw[:8])[0]
    return {
        "sshs_model_hash": hashlib.sha256(raw[start:]).hexdigest(),
        "sshs_legacy_hash": hashlib.sha256(raw[0x100000:0x110000]).hexdigest()[:8],
    }
