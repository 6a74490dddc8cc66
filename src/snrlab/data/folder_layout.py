"""Layout of a folder of images: the folder itself, its subfolders, or kohya's `N_name` subfolders.

`10_cat` is read as in kohya: ten repeats, and `cat` as the caption of images without one.
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
    """One folder of images, with what its name states.

    Attributes:
        path: of the folder.
        repeats: from its name; None if the name has none.
        class_tokens: from its name; None if the name has none.
    """

    path: Path
    repeats: int | None = None
    class_tokens: str | None = None

    @classmethod
    def from_name(cls, path: Path) -> ImageFolder:
        """Parse the name of a folder.

        Raises:
            UserError: it states 0 repeats.
        """
        match = _KOHYA.fullmatch(path.name)
        if match is None:
            return cls(path)
        if int(match[1]) == 0:
            raise UserError(
                f"{path}: 0 repeats leave its images out; rename it to 1_{match[2]}, or move it away.", code="no-images"
            )
        return cls(path, int(match[1]), match[2])


def image_folders(path: Path, repeats: int | None = None) -> tuple[tuple[ImageFolder, ...], tuple[str, ...]]:
    """(folders of images that a path means, notes on how it was read).

    Args:
        path: of the folder.
        repeats: the repeats that its set gives, which count instead of those in the folder's own name; None where the
            name decides.

    Raises:
        UserError: it is not a folder, or its images are not where a folder of images has them.
    """
    has_images = holds_images(path)
    subfolders = [folder for folder in _subfolders(path) if holds_images(folder)]
    kohya = [folder for folder in subfolders if _KOHYA.fullmatch(folder.name)]
    if has_images:
        return _as_single_folder(path, subfolders, kohya, repeats)
    if not subfolders:
        deeper = _first_folder_with_images(path)
        raise _no_images_error(path, None if deeper is None else deeper.parent)
    if kohya and len(kohya) < len(subfolders):
        unnumbered = next(folder for folder in subfolders if folder not in kohya)
        raise UserError(
            f"{path} has kohya folders such as {kohya[0].name}, but {unnumbered.name} has no repeats in its name; "
            f"rename it to 1_{unnumbered.name}, or move it away.",
            code="ambiguous-folder",
        )
    folders = tuple(ImageFolder.from_name(folder) for folder in subfolders)
    return folders, (_layout_note(folders), *_deeper_notes(path, subfolders))


def single_folder(path: Path) -> ImageFolder:
    """The folder itself, as kohya's image_dir means it.

    Raises:
        UserError: it is not a folder, or holds no images itself.
    """
    if not holds_images(path):
        raise _no_images_error(path, _first_folder_with_images(path))
    return ImageFolder(path)


def holds_images(path: Path) -> bool:
    """Whether a folder itself holds images or a metadata.jsonl."""
    return any(is_image(file) or file.name == METADATA for file in files_of(path))


def _as_single_folder(
    path: Path, subfolders: Sequence[Path], kohya: Sequence[Path], repeats: int | None
) -> tuple[tuple[ImageFolder, ...], tuple[str, ...]]:
    """(the folder itself, notes) for a folder that holds images itself (UserError if it also has kohya folders)."""
    if kohya:
        raise UserError(
            f"{path} has images of its own and the kohya folder {kohya[0].name}; move the images into a folder such "
            f"as {path.name}/1_name, or give {kohya[0].name} alone.",
            code="ambiguous-folder",
        )
    folder = ImageFolder.from_name(path) if repeats is None else ImageFolder(path)
    notes = [f"{folder.path.name} is read as {_name_note(folder)}, as its name says"] if folder.repeats else []
    if repeats is not None:
        notes = _other_name_notes(path, repeats)
    if (path / METADATA).is_file():  # which may name images anywhere below
        return (folder,), tuple(notes)
    if subfolders:
        names = ", ".join(folder.name for folder in subfolders[:3])
        notes.append(f"images in folders below are not read: {names}{', ...' if len(subfolders) > 3 else ''}")
    return (folder,), (*notes, *_deeper_notes(path, subfolders))


def _other_name_notes(path: Path, repeats: int) -> list[str]:
    """Note on a folder whose name has another number of repeats than its set gives."""
    match = _KOHYA.fullmatch(path.name)
    if match is None or int(match[1]) == repeats:
        return []
    return [f"{path.name}: the run file gives repeats = {repeats}, so the {match[1]} in the folder's name is not used"]


def _layout_note(folders: Sequence[ImageFolder]) -> str:
    if folders[0].repeats is None:
        return f"{len(folders)} folders: {', '.join(folder.path.name for folder in folders)}"
    return "kohya folders: " + "; ".join(f"{folder.path.name} is {_name_note(folder)}" for folder in folders)


def _name_note(folder: ImageFolder) -> str:
    times = "repeat" if folder.repeats == 1 else "repeats"
    return f"{folder.repeats} {times} of images whose caption is {folder.class_tokens!r} where they have none"


def _no_images_error(path: Path, deeper: Path | None) -> UserError:
    """Error for a folder without images, which says where images are or what the folder holds instead."""
    if deeper is not None:
        return UserError(
            f"{path}: there is no image in this folder; they are further down, so give {deeper}.", code="no-images"
        )
    files = files_of(path)
    if kinds := kinds_of(files):
        advice = {"videos": "extract frames", "archives": "unpack them"}.get(kinds[0][0], "convert them to .png")
        files_found = "; ".join(files_summary(kind, members) for kind, members in kinds)
        return UserError(
            f"{path}: there is no image in this folder, but it has {files_found}: {advice} first.", code="no-images"
        )
    contents = (
        f"only {', '.join(f.name for f in files[:3])}{', ...' if len(files) > 3 else ''}" if files else "it is empty"
    )
    return UserError(f"{path}: there is no image in this folder, {contents}.", code="no-images")


def _first_folder_with_images(path: Path, depth: int = 3) -> Path | None:
    """The first folder with images below a path, at most `depth` levels down; None if there is none."""
    for folder in _subfolders(path) if depth else []:
        with_images = folder if holds_images(folder) else _first_folder_with_images(folder, depth - 1)
        if with_images is not None:
            return with_images
    return None


def _deeper_notes(path: Path, subfolders: Sequence[Path]) -> list[str]:
    """Notes on images two levels down, which are not read.

    Raises:
        UserError: they are in a kohya folder, so that one was likely meant.
    """
    notes = []
    for folder in _subfolders(path):
        deeper = _first_folder_with_images(folder, depth=2)
        if deeper is not None and _KOHYA.fullmatch(deeper.name) and folder not in subfolders:
            raise UserError(
                f"{path} has images{'' if holds_images(path) else f' in {subfolders[0].name}'} and, further down, the "
                f"kohya folder {deeper.relative_to(path)}; give {deeper.parent}, or move one of them away.",
                code="ambiguous-folder",
            )
        if deeper is not None:
            notes.append(f"images in {deeper.relative_to(path)} are not read")
    return notes


def _subfolders(path: Path) -> list[Path]:
    files_of(path)  # raises UserError if it is not a folder
    folders = (folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    return sorted(folder for folder in folders if folder.name.lower() not in FOLDERS)
