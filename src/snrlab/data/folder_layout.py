"""Which folders of images a path means: itself, those in it, or kohya's `N_name` folders.

`10_cat` is read as kohya does: ten repeats, and `cat` as the caption of images that have none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from snrlab.core.errors import UserError
from snrlab.data.image_folder import METADATA, files_of, files_summary, kinds_of
from snrlab.data.images.image_file import is_image
from snrlab.data.masks import FOLDERS

_KOHYA = re.compile(r"(\d+)_(.+)")


@dataclass(frozen=True)
class ImageFolder:
    """One folder of images.

    Attributes:
        path: the folder.
        repeats: stated by its name, or None.
        class_tokens: stated by its name, or None.
    """

    path: Path
    repeats: int | None = None
    class_tokens: str | None = None

    @classmethod
    def named(cls, path: Path) -> ImageFolder:
        """The folder with what its name states.

        Raises:
            UserError: it states no repeats at all.
        """
        found = _KOHYA.fullmatch(path.name)
        if found is None:
            return cls(path)
        if int(found[1]) == 0:
            raise UserError(
                f"{path}: 0 repeats leave its images out; rename it to 1_{found[2]}, or move it away.", code="no-images"
            )
        return cls(path, int(found[1]), found[2])


def image_folders(path: Path) -> tuple[tuple[ImageFolder, ...], tuple[str, ...]]:
    """The folders of images that a path means, and notes on how it was read.

    Raises:
        UserError: it is no folder, or its images are not where a folder of images has them.
    """
    own = holds_images(path)
    below = [folder for folder in _folders(path) if holds_images(folder)]
    kohya = [folder for folder in below if _KOHYA.fullmatch(folder.name)]
    if own:
        return _itself(path, below, kohya)
    if not below:
        holder = _holder(path)
        raise _empty(path, None if holder is None else holder.parent)
    if kohya and len(kohya) < len(below):
        other = next(folder for folder in below if folder not in kohya)
        raise UserError(
            f"{path} has kohya folders such as {kohya[0].name}, but {other.name} has no repeats in its name; "
            f"rename it to 1_{other.name}, or move it away.",
            code="ambiguous-folder",
        )
    found = tuple(ImageFolder.named(folder) for folder in below)
    return found, (_as_read(found), *_further_down(path, below))


def alone(path: Path) -> ImageFolder:
    """The folder itself, as kohya's image_dir means it.

    Raises:
        UserError: it is no folder, or has no images of its own.
    """
    if not holds_images(path):
        raise _empty(path, _holder(path))
    return ImageFolder(path)


def holds_images(path: Path) -> bool:
    """Whether a folder has images of its own or a metadata.jsonl."""
    return any(is_image(file) or file.name == METADATA for file in files_of(path))


def _itself(
    path: Path, below: Sequence[Path], kohya: Sequence[Path]
) -> tuple[tuple[ImageFolder, ...], tuple[str, ...]]:
    if kohya:
        raise UserError(
            f"{path} has images of its own and the kohya folder {kohya[0].name}; move the images into a folder such "
            f"as {path.name}/1_name, or give {kohya[0].name} alone.",
            code="ambiguous-folder",
        )
    place = ImageFolder.named(path)
    notes = [f"{place.path.name} is read as {_stated(place)}, as its name says"] if place.repeats else []
    if (path / METADATA).is_file():  # which may name images anywhere below
        return (place,), tuple(notes)
    if below:
        names = ", ".join(folder.name for folder in below[:3])
        notes.append(f"images in folders below are not read: {names}{', ...' if len(below) > 3 else ''}")
    return (place,), (*notes, *_further_down(path, below))


def _as_read(found: Sequence[ImageFolder]) -> str:
    if found[0].repeats is None:
        return f"{len(found)} folders: {', '.join(place.path.name for place in found)}"
    return "kohya folders: " + "; ".join(f"{place.path.name} is {_stated(place)}" for place in found)


def _stated(place: ImageFolder) -> str:
    times = "repeat" if place.repeats == 1 else "repeats"
    return f"{place.repeats} {times} of images whose caption is {place.class_tokens!r} where they have none"


def _empty(path: Path, holder: Path | None) -> UserError:
    """That a folder has no image; and where images are, or what is there instead."""
    if holder is not None:
        return UserError(
            f"{path}: there is no image in this folder; they are further down, so give {holder}.", code="no-images"
        )
    files = files_of(path)
    if kinds := kinds_of(files):
        advice = {"videos": "extract frames", "archives": "unpack them"}.get(kinds[0][0], "convert them to .png")
        found = "; ".join(files_summary(kind, some) for kind, some in kinds)
        return UserError(
            f"{path}: there is no image in this folder, but it has {found}: {advice} first.", code="no-images"
        )
    names = (
        f"only {', '.join(f.name for f in files[:3])}{', ...' if len(files) > 3 else ''}" if files else "it is empty"
    )
    return UserError(f"{path}: there is no image in this folder, {names}.", code="no-images")


def _holder(path: Path, depth: int = 3) -> Path | None:
    """The first folder with images below a path."""
    for folder in _folders(path) if depth else []:
        found = folder if holds_images(folder) else _holder(folder, depth - 1)
        if found is not None:
            return found
    return None


def _further_down(path: Path, below: Sequence[Path]) -> list[str]:
    """Notes on images two levels down, which are not read.

    Raises:
        UserError: they are in kohya folders, so that other ones were likely meant.
    """
    notes = []
    for folder in _folders(path):
        holder = _holder(folder, depth=2)
        if holder is not None and _KOHYA.fullmatch(holder.name) and folder not in below:
            raise UserError(
                f"{path} has images{'' if holds_images(path) else f' in {below[0].name}'} and, further down, the kohya "
                f"folder {holder.relative_to(path)}; give {holder.parent}, or move one of them away.",
                code="ambiguous-folder",
            )
        if holder is not None:
            notes.append(f"images in {holder.relative_to(path)} are not read")
    return notes


def _folders(path: Path) -> list[Path]:
    files_of(path)  # refuses what is no folder
    found = (p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    return sorted(p for p in found if p.name.lower() not in FOLDERS)
