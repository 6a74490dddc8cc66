"""A plain folder of images with captions beside them: what is in it, and what is wrong with it.

`cat.png` takes its caption from `cat.txt` or `cat.caption`. Anything Pillow opens is an image;
EXIF rotation is applied and transparency is laid over white.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snrlab.core.errors import UserError

CAPTION_SUFFIXES = (".txt", ".caption")


@dataclass(frozen=True)
class ImageFile:
    """One readable image.

    Attributes:
        path: the file.
        size: width and height in pixels, after EXIF rotation.
        caption: text of its caption file, or None where there is none.
        caption_suffix: suffix of that file, or None.
    """

    path: Path
    size: tuple[int, int]
    caption: str | None
    caption_suffix: str | None


@dataclass(frozen=True)
class Folder:
    """What a folder holds.

    Attributes:
        images: readable images, by name.
        broken: (file, reason) of images that cannot be read.
        strays: caption files that belong to no image.
    """

    path: Path
    images: tuple[ImageFile, ...]
    broken: tuple[tuple[Path, str], ...]
    strays: tuple[Path, ...]

    def problems(self, default_caption: str | None) -> list[str]:
        """What keeps this folder from being trained on, in words; empty if nothing does."""
        found = [f"{path.name} cannot be read: {reason}." for path, reason in self.broken]
        if not self.images and not self.broken:
            found.append(f"{self.path}: there is no image in this folder.")
        bare = [image.path.name for image in self.images if image.caption is None]
        if bare and default_caption is None:
            wrong = f"{len(bare)} of {len(self.images)} images have no caption, {bare[0]} the first."
            if self.strays:
                wrong += f" {len(self.strays)} caption files match no image, {self.strays[0].name} the first."
            found.append(f'{wrong} Put a .txt beside each, or set data.caption = "..." for those without.')
        return found

    def summary(self) -> str:
        """What was found, in one paragraph."""
        if not self.images:
            return f"{self.path}: no readable image"
        suffixes = Counter(i.caption_suffix for i in self.images if i.caption_suffix)
        captions = ", ".join(f"{n} captions in {suffix}" for suffix, n in suffixes.items()) or "no captions"
        sizes = Counter(i.size for i in self.images)
        shown = ", ".join(f"{w}x{h} ({n})" for (w, h), n in sizes.most_common(3))
        more = f" and {len(sizes) - 3} more sizes" if len(sizes) > 3 else ""
        return f"{self.path}: {len(self.images)} images, {captions}; {shown}{more}"


def scan(path: Path) -> Folder:
    """Open every image of a folder and find its caption.

    Raises:
        UserError: the folder does not exist, is a file, or cannot be listed.
    """
    from PIL import Image

    if not path.is_dir():
        raise UserError(f"{path}: {'this is a file, not a folder' if path.exists() else 'there is no such folder'}.")
    try:
        files = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
    except OSError as reason:
        raise UserError(f"{path}: the folder cannot be listed ({reason.strerror}).") from None
    known = Image.registered_extensions()
    images, broken = [], []
    for file in (f for f in files if f.suffix.lower() in known):
        try:
            images.append(_image_file(file))
        except UserError as reason:
            broken.append((file, str(reason)))
    stems = {f.stem for f in files if f.suffix.lower() in known}
    strays = [f for f in files if f.suffix.lower() in CAPTION_SUFFIXES and f.stem not in stems]
    return Folder(path, tuple(images), tuple(broken), tuple(strays))


def load_pixels(path: Path, resolution: int) -> NDArray[np.uint8]:
    """The image scaled to cover a square and cropped to its centre, uint8 [resolution, resolution, 3].

    Raises:
        UserError: the image cannot be read.
    """
    from PIL import Image, ImageOps

    image = _open(path)
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    fitted = ImageOps.fit(image.convert("RGB"), (resolution, resolution), Image.Resampling.LANCZOS)
    return np.asarray(fitted, dtype=np.uint8)


def _open(path: Path):  # type: ignore[no-untyped-def]  # PIL.Image.Image
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            opened.load()
            image = ImageOps.exif_transpose(opened)
    except Image.DecompressionBombError:
        raise UserError("the picture is too large") from None
    except (OSError, SyntaxError, ValueError, EOFError) as reason:
        text = str(reason).replace(str(path), path.name)
        raise UserError(text or type(reason).__name__) from None
    if image.mode.startswith("I"):  # sixteen-bit grey, which Pillow's conversion would clip instead of scale
        return Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    return image


def _image_file(path: Path) -> ImageFile:
    size = _open(path).size
    for suffix in CAPTION_SUFFIXES:
        file = path.with_suffix(suffix)
        if file.is_file():
            try:
                return ImageFile(path, size, " ".join(file.read_text(encoding="utf-8-sig").split()), suffix)
            except UnicodeDecodeError:
                raise UserError(f"its caption {file.name} is not UTF-8 text") from None
    return ImageFile(path, size, None, None)
