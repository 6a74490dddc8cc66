"""Reader of single tensors of a safetensors file into numpy arrays, without torch."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np
from numpy.typing import NDArray

from snrlab.core.errors import UserError
from snrlab.model_files.header import Header

PIECE = 1 << 22  # most elements in memory at once
# numpy dtype of each number format; formats that numpy lacks are read as bits and widened to float32
PLAIN_FORMATS = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "<u1", "BOOL": "?",
}  # fmt: skip
AS_BITS = {"BF16": "<u2", "F8_E4M3": "<u1", "F8_E5M2": "<u1"}


def element_count(header: Header, name: str) -> int:
    """Number of elements of a tensor."""
    return prod(header.shapes[name])


def read_tensor(header: Header, name: str) -> NDArray[np.float32]:
    """A whole tensor in float32, in its shape (UserError as for `read_pieces`)."""
    chunks = list(read_pieces(header, name))
    flat = np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
    return flat.reshape(header.shapes[name])


def read_pieces(header: Header, name: str) -> Iterator[NDArray[np.float32]]:
    """Read a tensor in float32 lazily, in flat pieces of at most `PIECE` elements.

    Raises:
        UserError: an unknown number format, or a length in the file that does not fit the shape.
    """
    number_format = header.formats[name]
    if number_format not in PLAIN_FORMATS and number_format not in AS_BITS:
        raise UserError(
            f"{header.where}: the tensor {name} has the number format {number_format}, which cannot be read.",
            code="not-supported",
        )
    dtype = np.dtype(PLAIN_FORMATS.get(number_format) or AS_BITS[number_format])
    begin, end = header.offsets[name]
    count = element_count(header, name)
    if count * dtype.itemsize != end - begin:
        raise UserError(
            f"{header.where}: the tensor {name} does not have the {count:,} numbers that its shape says.",
            code="damaged-file",
        )
    with header.path.open("rb") as file:
        file.seek(begin)
        for start in range(0, count, PIECE):
            raw = file.read(min(PIECE, count - start) * dtype.itemsize)
            yield _to_float32(np.frombuffer(raw, dtype), number_format)


def _to_float32(values: NDArray[np.generic], number_format: str) -> NDArray[np.float32]:
    """Values of a number format as float32; `values` are raw bits for formats that numpy lacks."""
    match number_format:
        case "BF16":  # the upper half of a float32
            return (values.astype(np.uint32) << 16).view(np.float32)
        case "F8_E5M2":  # the upper half of a float16
            return (values.astype(np.uint16) << 8).view(np.float16).astype(np.float32)
        case "F8_E4M3":
            return _E4M3[values.astype(np.uint8)]
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, which the inspection reports
        return values.astype(np.float32)


def _e4m3() -> NDArray[np.float32]:
    """Table of all 256 float8 E4M3 values by their bits; there is no infinity, and all ones is NaN."""
    bits = np.arange(256)
    exponent, mantissa = (bits >> 3) & 15, bits & 7
    normal = (1 + mantissa / 8) * 2.0 ** (exponent - 7)
    magnitude = np.where(exponent == 0, mantissa / 8 * 2.0**-6, normal)
    magnitude[(bits & 127) == 127] = np.nan
    return np.where(bits >> 7, -magnitude, magnitude).astype(np.float32)


_E4M3 = _e4m3()
