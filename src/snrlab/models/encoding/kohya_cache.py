"""Latents that kohya's sd-scripts cached next to the images: `NAME.npz`, `NAME_0640x0480_sd.npz`, `..._sdxl.npz`.

Such a file records neither the autoencoder nor the image it was made from, so only its age, the image's size and the
latents' size can be checked. Its latents are samples of the posterior, not yet multiplied by the scaling factor.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

CacheFamily = Literal["sd", "sdxl"]
Latents = NDArray[np.float32]
_LARGEST = 2**27  # bytes that a file may decompress to


class UnusableError(ValueError):
    """A cache file does not fit its image; the message gives the reason, without the file's name."""


@dataclass(frozen=True, eq=False)
class KohyaLatents:
    """Unscaled latents [C, h, w] of an image and, where the cache has them, of its mirror image."""

    plain: Latents
    mirrored: Latents | None


def cache_file(image: Path, size: tuple[int, int], family: CacheFamily) -> Path | None:
    """Path of the cache of an image of this width and height, or None.

    Raises:
        UnusableError: there is only a cache for the other family.
    """
    name = f"{image.stem}_{size[0]:04d}x{size[1]:04d}"
    candidates = [image.with_name(f"{image.stem}.npz"), image.with_name(f"{name}_{family}.npz")]
    cache = next((path for path in candidates if path.is_file()), None)
    other: CacheFamily = "sd" if family == "sdxl" else "sdxl"
    if cache is None and image.with_name(f"{name}_{other}.npz").is_file():
        raise UnusableError(f"it is for {other.upper()}")
    return cache


def read_kohya_latents(file: Path, image: Path, size: tuple[int, int], shape: tuple[int, int, int]) -> KohyaLatents:
    """Read the latents in a cache file.

    Args:
        file: the cache file.
        image: the image it was made from.
        size: the image's width and height.
        shape: expected shape of the latents [C, h, w].

    Raises:
        UnusableError: it is older than the image, damaged, or of another size.
    """
    if not file.is_file():
        raise UnusableError("it is not an ordinary file")
    if file.stat().st_mtime < image.stat().st_mtime:
        raise UnusableError("it is older than its image")
    try:
        with zipfile.ZipFile(file) as members:
            unpacked = sum(member.file_size for member in members.infolist())
        with np.load(file, allow_pickle=False) as arrays:
            contents = {} if unpacked > _LARGEST else {name: arrays[name] for name in arrays.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as reason:
        raise UnusableError(f"it cannot be read ({type(reason).__name__})") from None
    if unpacked > _LARGEST:
        raise UnusableError("it decompresses to more data than latents have")
    return _select_size(contents, size, shape)


def _select_size(
    arrays: dict[str, NDArray[np.generic]], size: tuple[int, int], shape: tuple[int, int, int]
) -> KohyaLatents:
    """The latents of one size; where a file holds several, its keys end in the latents' height and width."""
    named = f"_{shape[1]}x{shape[2]}"
    suffix = named if f"latents{named}" in arrays else ""
    if f"latents{suffix}" not in arrays:
        sizes = [name.removeprefix("latents_") for name in arrays if name.startswith("latents_")]
        available = ", ".join(s for s in sizes if "flipped" not in s) or "none"
        raise UnusableError(f"it has no latents of {shape[1]}x{shape[2]}, only {available}")
    original = arrays.get(f"original_size{suffix}")
    if original is not None and tuple(int(side) for side in original) != size:
        raise UnusableError(f"it is of an image of {int(original[0])}x{int(original[1])}, not {size[0]}x{size[1]}")
    plain, mirrored = (arrays.get(f"{name}{suffix}") for name in ("latents", "latents_flipped"))
    for latents in (plain, mirrored):
        if latents is not None and latents.shape != shape:
            raise UnusableError(f"its latents are {latents.shape[1]}x{latents.shape[2]}, not {shape[1]}x{shape[2]}")
        if latents is not None and not np.isfinite(latents.astype(np.float32)).all():
            raise UnusableError("its latents are not finite numbers")
    assert plain is not None
    return KohyaLatents(plain.astype(np.float32), None if mirrored is None else mirrored.astype(np.float32))
