"""Mask files: which one belongs to an image, and whether it fits.

`cat.png` takes `cat-masklabel.png` beside it (OneTrainer's name), or `cat.png` in a folder `mask/` beside it or in the
folder that is stated (kohya's conditioning_data_dir).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from snrlab.core.errors import UserError
from snrlab.data.captions.caption_files import caption_key
from snrlab.data.image_folder import MASK_ENDING, Folder, files_of, listed
from snrlab.data.images.image_file import is_image, shown_size

FOLDERS = ("mask", "masks")
PROPORTIONS = 0.01  # by how much the aspect ratio of a mask may differ from its image's


def find_masks(folder: Folder, stated: Path | None) -> tuple[dict[Path, Path], list[str]]:
    """The mask of each image, and what is wrong, in words."""
    known = dict(_by_stem(stated)) if stated is not None else {**_beside(folder.path), **folder.masks}
    found = {i.path: known[caption_key(i.path.stem)] for i in folder.images if caption_key(i.path.stem) in known}
    bare = [i.path.name for i in folder.images if i.path not in found]
    wrong = []
    if bare:
        where = str(stated) if stated is not None else f"{MASK_ENDING} files or a folder {FOLDERS[0]}/ in {folder.path}"
        wrong.append(
            f"masked_loss is true, but {len(bare)} of {len(folder.images)} images have no mask among {where}, "
            f"{bare[0]} the first. Add them, white for all that counts."
        )
    for image in (i for i in folder.images if i.path in found):
        mask = found[image.path]
        try:
            (w, h), (mask_w, mask_h) = image.size, shown_size(mask)
        except UserError as reason:
            wrong.append(f"the mask {mask.name} cannot be read: {reason}.")
            continue
        if abs(w * mask_h - h * mask_w) > PROPORTIONS * w * mask_h:
            wrong.append(
                f"the mask {mask.name} is {mask_w}x{mask_h} and {image.path.name} {w}x{h}: another aspect ratio."
            )
    return found, listed(wrong, "masks")


def unused_masks(folder: Folder) -> int:
    """Number of masks beside the images, for those who forgot to say that they are to be used."""
    stems = {caption_key(i.path.stem) for i in folder.images}
    return len(stems & {*_beside(folder.path), *folder.masks}) if folder.path.is_dir() else 0


def _beside(path: Path) -> Mapping[str, Path]:
    if not path.is_dir():  # a metadata file, whose images may be anywhere
        return {}
    return next((_by_stem(path / name) for name in FOLDERS if (path / name).is_dir()), {})


def _by_stem(folder: Path) -> Mapping[str, Path]:
    return {caption_key(file.stem.removesuffix(MASK_ENDING)): file for file in files_of(folder) if is_image(file)}
