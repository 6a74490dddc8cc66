"""Tensors of a safetensors file as numpy arrays, one at a time and without torch."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np
from numpy.typing import NDArray

from snrlab.core.errors import UserError
from snrlab.model_files.header import Header

PIECE = 1 << 22  # elements that are in memory at once
# how a number format lies in the file; formats that numpy has no word for are read as bits and widened
PLAIN_FORMATS = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "<u1", "BOOL": "?",
}  # fmt: skip
AS_BITS = {"BF16": "<u2", "F8_E4M3": "<u1", "F8_E5M2": "<u1"}


def elements(header: Header, name: str) -> int:
    """How many numbers a tensor has."""
    return prod(header.shapes[name])


def read_tensor(header: Header, name: str) -> NDArray[np.float32]:
    """A whole tensor in float32, in its shape (UserError as for `pieces`)."""
    parts = list(pieces(header, name))
    flat = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    return flat.reshape(header.shapes[name])


def pieces(header: Header, name: str) -> Iterator[NDArray[np.float32]]:
    """A tensor's numbers in float32, in pieces of at most `PIECE`, read from the file as they are asked for.

    Raises:
        UserError: a number format that is not known, or a place in the file that does not fit the shape.
    """
    kind = header.formats[name]
    if kind not in PLAIN_FORMATS and kind not in AS_BITS:
        raise UserError(
            f"{header.where}: the tensor {name} has the number format {kind}, which is not known here.",
            code="not-supported",
        )
    dtype = np.dtype(PLAIN_FORMATS.get(kind) or AS_BITS[kind])
    begin, end = header.places[name]
    count = elements(header, name)
    if count * dtype.itemsize != end - begin:
        raise UserError(
            f"{header.where}: the tensor {name} does not have the {count:,} numbers that its shape says.",
            code="damaged-file",
        )
    with header.path.open("rb") as file:
        file.seek(begin)
        for start in range(0, count, PIECE):
            raw = file.read(min(PIECE, count - start) * dtype.itemsize)
            yield _widened(np.frombuffer(raw, dtype), kind)


def _widened(values: NDArray[np.generic], kind: str) -> NDArray[np.float32]:
    match kind:
        case "BF16":  # the upper half of a float32
            return (values.astype(np.uint32) << 16).view(np.float32)
        case "F8_E5M2":  # the upper half of a float16
            return (values.astype(np.uint16) << 8).view(np.float16).astype(np.float32)
        case "F8_E4M3":
            return _E4M3[values.astype(np.uint8)]
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, which is a finding
        return values.astype(np.float32)


def _e4m3() -> NDArray[np.float32]:
    """Every float of one sign, four exponent and three mantissa bits: no infinity, all ones is nan."""
    bits = np.arange(256)
    exponent, mantissa = (bits >> 3) & 15, bits & 7
    normal = (1 + mantissa / 8) * 2.0 ** (exponent - 7)
    size = np.where(exponent == 0, mantissa / 8 * 2.0**-6, normal)
    size[(bits & 127) == 127] = np.nan
    return np.where(bits >> 7, -size, size).astype(np.float32)


_E4M3 = _e4m3()
