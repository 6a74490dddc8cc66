"""Mask files: the one that belongs to an image, and whether it fits.

The mask of `cat.png` is `cat-masklabel.png` in the same folder (OneTrainer's name), or `cat.png` in a subfolder `mask/`
or in the folder that the run file names (kohya's conditioning_data_dir).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from snrlab.core.errors import UserError
from snrlab.data.captions.caption_files import caption_key
from snrlab.data.image_folder import MASK_ENDING, Folder, files_of, first_sentences
from snrlab.data.images.image_file import is_image, shown_size

FOLDERS = ("mask", "masks")
ASPECT_TOLERANCE = 0.01  # relative difference allowed between the aspect ratios of a mask and its image


def find_masks(folder: Folder, mask_folder: Path | None) -> tuple[dict[Path, Path], list[str]]:
    """(mask file by image, problems as sentences); `mask_folder` is the folder that the run file names, if any."""
    masks_by_stem = (
        dict(_by_stem(mask_folder)) if mask_folder is not None else {**_in_mask_folder(folder.path), **folder.masks}
    )
    masks = {
        i.path: masks_by_stem[caption_key(i.path.stem)]
        for i in folder.images
        if caption_key(i.path.stem) in masks_by_stem
    }
    unmasked = [i.path.name for i in folder.images if i.path not in masks]
    problems = []
    if unmasked:
        places = (
            str(mask_folder)
            if mask_folder is not None
            else f"{MASK_ENDING} files or a folder {FOLDERS[0]}/ in {folder.path}"
        )
        problems.append(
            f"masked_loss is true, but {len(unmasked)} of {len(folder.images)} images have no mask among {places}, "
            f"{unmasked[0]} the first. Add them, with white for all that counts."
        )
    for image in (i for i in folder.images if i.path in masks):
        mask = masks[image.path]
        try:
            (w, h), (mask_w, mask_h) = image.size, shown_size(mask)
        except UserError as error:
            problems.append(f"the mask {mask.name} cannot be read: {error}.")
            continue
        if abs(w * mask_h - h * mask_w) > ASPECT_TOLERANCE * w * mask_h:
            problems.append(
                f"the mask {mask.name} is {mask_w}x{mask_h} and {image.path.name} {w}x{h}: another aspect ratio."
            )
    return masks, first_sentences(problems, "masks")


def unused_masks(folder: Folder) -> int:
    """Number of masks of a folder's images that would be used with masked_loss, for a note to the user."""
    stems = {caption_key(i.path.stem) for i in folder.images}
    return len(stems & {*_in_mask_folder(folder.path), *folder.masks}) if folder.path.is_dir() else 0


def _in_mask_folder(path: Path) -> Mapping[str, Path]:
    """Masks in a folder's subfolder for masks, by the stem of their image."""
    if not path.is_dir():  # a metadata file, whose images may be anywhere
        return {}
    return next((_by_stem(path / name) for name in FOLDERS if (path / name).is_dir()), {})


def _by_stem(folder: Path) -> Mapping[str, Path]:
    return {caption_key(file.stem.removesuffix(MASK_ENDING)): file for file in files_of(folder) if is_image(file)}
