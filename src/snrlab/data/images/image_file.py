"""Image files by name and header: which files are images, and their sizes as shown."""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path

from snrlab.core.errors import UserError
from snrlab.core.regular_file import check_regular_file

# formats of Pillow that are not images, or that need other programs
_NOT_IMAGES = {".mpg", ".mpeg", ".pdf", ".eps", ".ps", ".wmf", ".emf", ".h5", ".hdf", ".grib", ".bufr", ".fli", ".flc"}
_ORIENTATION = 0x0112
_QUARTER_TURNS = (5, 6, 7, 8)


@cache
def suffixes() -> frozenset[str]:
    """Suffixes, in lower case, of the files that Pillow opens as images."""
    from PIL import Image

    return frozenset(s for s, kind in Image.registered_extensions().items() if kind in Image.OPEN) - _NOT_IMAGES


def is_image(path: Path) -> bool:
    """Whether a file's name says that it is an image."""
    return path.suffix.lower() in suffixes()


def shown_size(path: Path) -> tuple[int, int]:
    """Width and height after EXIF rotation, from the header; only TIFF files and some PNG files are decoded.

    Raises:
        UserError: it is not an image; the message is the reason only.
    """
    from PIL import Image

    check_regular_file(path)
    try:
        with Image.open(path) as image:
            if image.format == "TIFF" or (image.format == "PNG" and _exif_comes_last(path)):
                image.load()  # Pillow rotates TIFF files itself, and reads late EXIF data only on load
            # the getexif of PNG files would decode the image
            exif = Image.Image.getexif(image) if image.format == "PNG" else image.getexif()
            width, height = image.size
            is_rotated = exif.get(_ORIENTATION) in _QUARTER_TURNS
    except Image.DecompressionBombError:
        raise UserError("the picture is too large", code="unreadable-image") from None
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        if path.is_file() and not path.stat().st_size:
            raise UserError("the file is empty", code="unreadable-image") from None
        text = str(error).replace(repr(str(path)), path.name).replace(str(path), path.name)
        raise UserError(text or type(error).__name__, code="unreadable-image") from None
    return (height, width) if is_rotated else (width, height)


def _exif_comes_last(path: Path) -> bool:
    """Whether a PNG file has its EXIF data after the pixels, where Pillow does not see it on opening."""
    with path.open("rb") as file:
        file.seek(8)
        after_pixels = False
        while len(chunk_header := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", chunk_header)
            if kind == b"eXIf":
                return after_pixels
            after_pixels |= kind == b"IDAT"
            file.seek(length + 4, 1)
    return False
