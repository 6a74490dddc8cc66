"""Facts of a finished run that its config does not hold, for what its result says about itself."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from snrlab.model_files.families import Family


@dataclass(frozen=True)
class Base:
    """The model that was trained on.

    Attributes:
        name: never a path; vae_name: of a separate autoencoder.
        hashes, vae_hashes: as `file_hashes` gives them, where it was a single file.
    """

    name: str
    family: Family = "sd1"
    hashes: tuple[str, str] | None = None
    vae_name: str | None = None
    vae_hashes: tuple[str, str] | None = None


@dataclass(frozen=True)
class Images:
    """The images that were trained on; every folder goes by its own name, without the folders above it.

    Attributes:
        train, reg: pictures an epoch, repeats counted: those to learn and those of regularisation; validation: images
            held back.
        size: width and height aimed at.
        options: what was done with them, in kohya's keys.
        datasets, dataset_dirs, reg_dataset_dirs, tag_frequency, bucket_info: as kohya writes them.
    """

    train: int
    validation: int = 0
    reg: int = 0
    size: tuple[int, int] = (512, 512)
    options: Mapping[str, object] = field(default_factory=dict)
    datasets: Sequence[Mapping[str, Any]] = ()
    dataset_dirs: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    reg_dataset_dirs: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    tag_frequency: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    bucket_info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Training:
    """What was trained on what, how far, and when; `devices` trained it together."""

    base: Base
    images: Images
    steps: int
    epochs: int
    started: datetime | None = None
    finished: datetime | None = None
    devices: int = 1


@cache  # a file of gigabytes is read once in a run
def file_hashes(path: Path) -> tuple[str, str]:
    """The two hashes by which A1111 knows a checkpoint file: an old one of a piece of it, and sha256 of all of it."""
    with path.open("rb") as file:
        file.seek(0x100000)
        old = hashlib.sha256(file.read(0x10000)).hexdigest()[:8]
        file.seek(0)
        return old, hashlib.file_digest(file, "sha256").hexdigest()
