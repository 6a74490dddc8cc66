"""Latents that kohya's sd-scripts has cached beside the images: `NAME.npz`, `NAME_0640x0480_sd.npz`, `..._sdxl.npz`.

Such a file says neither which autoencoder made it nor from which picture, so what can be checked is checked: its age,
the picture's size, the latents' size. Latents in it are samples, not yet multiplied by the scaling factor.
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
_LARGEST = 2**27  # bytes that a file may unpack to


class UnusableError(ValueError):
    """A cache is there, but it does not belong to what is wanted; the message says why, without a name."""


@dataclass(frozen=True, eq=False)
class KohyaLatents:
    """Unscaled latents [C, h, w] of an image and, where they are there, of its mirror image."""

    plain: Latents
    mirrored: Latents | None


def cache_file(image: Path, size: tuple[int, int], family: CacheFamily) -> Path | None:
    """The cache of an image of this width and height, or None.

    Raises:
        UnusableError: there is only one for the other family.
    """
    name = f"{image.stem}_{size[0]:04d}x{size[1]:04d}"
    candidates = [image.with_name(f"{image.stem}.npz"), image.with_name(f"{name}_{family}.npz")]
    found = next((path for path in candidates if path.is_file()), None)
    other: CacheFamily = "sd" if family == "sdxl" else "sdxl"
    if found is None and image.with_name(f"{name}_{other}.npz").is_file():
        raise UnusableError(f"it is for {other.upper()}")
    return found


def read_kohya_latents(file: Path, image: Path, size: tuple[int, int], shape: tuple[int, int, int]) -> KohyaLatents:
    """The latents in a cache file.

    Args:
        file: the cache.
        image: the picture it was made from.
        size: the picture's width and height.
        shape: [C, h, w] of the latents that are wanted.

    Raises:
        UnusableError: it is older than the picture, damaged, or of another size.
    """
    if not file.is_file():
        raise UnusableError("it is not an ordinary file")
    if file.stat().st_mtime < image.stat().st_mtime:
        raise UnusableError("it is older than its image")
    try:
        with zipfile.ZipFile(file) as members:
            whole = sum(member.file_size for member in members.infolist())
        with np.load(file, allow_pickle=False) as arrays:
            found = {} if whole > _LARGEST else {name: arrays[name] for name in arrays.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as reason:
        raise UnusableError(f"it cannot be read ({type(reason).__name__})") from None
    if whole > _LARGEST:
        raise UnusableError("it unpacks to more than latents have")
    return _chosen(found, size, shape)


def _chosen(arrays: dict[str, NDArray[np.generic]], size: tuple[int, int], shape: tuple[int, int, int]) -> KohyaLatents:
    """Those of one resolution, whose keys end in the latents' height and width where a file holds several."""
    named = f"_{shape[1]}x{shape[2]}"
    suffix = named if f"latents{named}" in arrays else ""
    if f"latents{suffix}" not in arrays:
        sizes = [name.removeprefix("latents_") for name in arrays if name.startswith("latents_")]
        there = ", ".join(s for s in sizes if "flipped" not in s) or "none"
        raise UnusableError(f"it has no latents of {shape[1]}x{shape[2]}, only {there}")
    original = arrays.get(f"original_size{suffix}")
    if original is not None and tuple(int(side) for side in original) != size:
        raise UnusableError(f"it is of a picture of {int(original[0])}x{int(original[1])}, not {size[0]}x{size[1]}")
    plain, mirrored = (arrays.get(f"{name}{suffix}") for name in ("latents", "latents_flipped"))
    for found in (plain, mirrored):
        if found is not None and found.shape != shape:
            raise UnusableError(f"its latents are {found.shape[1]}x{found.shape[2]}, not {shape[1]}x{shape[2]}")
        if found is not None and not np.isfinite(found.astype(np.float32)).all():
            raise UnusableError("its latents are not finite numbers")
    assert plain is not None
    return KohyaLatents(plain.astype(np.float32), None if mirrored is None else mirrored.astype(np.float32))
