"""Images by their headers: which files are images, and how large each one is shown."""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path

from snrlab.core.errors import UserError
from snrlab.core.regular_file import check_regular_file

# what Pillow lists among its formats but is no picture, or not without other programs
_NO_PICTURES = {".mpg", ".mpeg", ".pdf", ".eps", ".ps", ".wmf", ".emf", ".h5", ".hdf", ".grib", ".bufr", ".fli", ".flc"}
_ORIENTATION = 0x0112
_QUARTER_TURNS = (5, 6, 7, 8)


@cache
def suffixes() -> frozenset[str]:
    """Suffixes in small letters of the files that Pillow opens."""
    from PIL import Image

    return frozenset(s for s, kind in Image.registered_extensions().items() if kind in Image.OPEN) - _NO_PICTURES


def is_image(path: Path) -> bool:
    """Whether a file's name says that it is an image."""
    return path.suffix.lower() in suffixes()


def shown_size(path: Path) -> tuple[int, int]:
    """Width and height after EXIF rotation, read from the header; the picture is not decoded, but for TIFF files.

    Raises:
        UserError: it is no image; the message is the reason alone.
    """
    from PIL import Image

    check_regular_file(path)
    try:
        with Image.open(path) as image:
            if image.format == "TIFF" or (image.format == "PNG" and _exif_comes_last(path)):
                image.load()  # Pillow turns TIFF files itself, and sees late EXIF data only then
            # the method of PNG files would decode the picture
            exif = Image.Image.getexif(image) if image.format == "PNG" else image.getexif()
            width, height = image.size
            turned = exif.get(_ORIENTATION) in _QUARTER_TURNS
    except Image.DecompressionBombError:
        raise UserError("the picture is too large", code="unreadable-image") from None
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as reason:
        if path.is_file() and not path.stat().st_size:
            raise UserError("the file is empty", code="unreadable-image") from None
        text = str(reason).replace(repr(str(path)), path.name).replace(str(path), path.name)
        raise UserError(text or type(reason).__name__, code="unreadable-image") from None
    return (height, width) if turned else (width, height)


def _exif_comes_last(path: Path) -> bool:
    """Whether a PNG file has its EXIF data after the picture, where opening it does not see it."""
    with path.open("rb") as file:
        file.seek(8)
        seen_picture = False
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"eXIf":
                return seen_picture
            seen_picture |= kind == b"IDAT"
            file.seek(length + 4, 1)
    return False
