"""Caption files: which one belongs to an image, and what it says."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from snrlab.core.errors import UserError, nearest
from snrlab.core.regular_file import check_regular_file
from snrlab.files.text import LARGEST_TEXT

_SUFFIXES = (".txt", ".caption", ".cap")
CaptionLines = Literal["join", "first", "alternatives"]
_NO_CAPTIONS = {"readme", "license", "licence", "notice", "credits", "copying", "changelog"}


def caption_key(stem: str) -> str:
    """What an image and its caption have in common; the same however the file system writes accents."""
    return unicodedata.normalize("NFC", stem)


@dataclass(frozen=True)
class CaptionFiles:
    """The caption files of a folder.

    Attributes:
        by_stem: files by the stem they share with an image, then by suffix in small letters.
        extension: the only suffix that is read, or None for any of `_SUFFIXES`.
    """

    by_stem: Mapping[str, Mapping[str, Path]] = field(default_factory=dict)
    extension: str | None = None

    @classmethod
    def among(cls, files: Iterable[Path], extension: str | None) -> CaptionFiles:
        """Those among the files of a folder."""
        wanted = {*_SUFFIXES, extension}
        found: dict[str, dict[str, Path]] = {}
        for file in files:
            if file.suffix.lower() in wanted and file.stem.lower() not in _NO_CAPTIONS:
                found.setdefault(caption_key(file.stem), {})[file.suffix.lower()] = file
        return cls(found, extension)

    def of(self, image: Path) -> Path | None:
        """The caption file of an image, or None.

        Raises:
            UserError: it has several; the message names them.
        """
        found = self.by_stem.get(caption_key(image.stem), {})
        if self.extension is not None:
            return found.get(self.extension)
        if len(found) > 1:
            names = " and ".join(file.name for file in found.values())
            raise UserError(
                f'{image.name} has {names}; state which to read, such as caption_extension = ".txt".',
                code="ambiguous-caption",
            )
        return next(iter(found.values()), None)

    def strays(self, images: Iterable[Path]) -> tuple[Path, ...]:
        """Caption files that belong to no image, or have another suffix than the one that is read."""
        stems = {caption_key(image.stem) for image in images}
        return tuple(
            file
            for stem, files in sorted(self.by_stem.items())
            for suffix, file in files.items()
            if stem not in stems or self.extension not in (None, suffix)
        )


def read_caption(file: Path, lines: CaptionLines) -> tuple[str, ...]:
    """What a caption file says: its lines joined to one text, its first line, or all of them as alternatives.

    Raises:
        UserError: it cannot be read, is empty or not UTF-8.
    """
    check_regular_file(file, largest=LARGEST_TEXT)
    try:
        data = file.read_bytes()
    except OSError as reason:
        raise UserError(f"{file.name} cannot be read ({reason.strerror}).", code="unreadable-file") from None
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UserError(f"{file.name} is UTF-16 text; save it as UTF-8.", code="not-utf8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as reason:
        wrong = f"byte {data[reason.start]:#04x} in line {data[: reason.start].count(10) + 1}"
        raise UserError(f"{file.name} is not UTF-8 text ({wrong}); save it as UTF-8.", code="not-utf8") from None
    found = [" ".join(line.split()) for line in text.splitlines()]
    filled = [line for line in found if line]
    if not filled or (lines == "first" and not found[0]):
        what = "is empty" if not filled else "starts with an empty line"
        raise UserError(
            f'{file.name} {what}; write a caption, or delete it and set caption = "" to train without one.',
            code="missing-caption",
        )
    if lines == "join":
        return (" ".join(filled),)
    return tuple(filled) if lines == "alternatives" else (found[0],)


def unmatched(strays: Sequence[Path], images: Sequence[Path]) -> str:
    """What to say of caption files that match no image, with the likely reason where there is one."""
    first = strays[0]
    text = f"{len(strays)} caption {'file is' if len(strays) == 1 else 'files are'} not used, {first.name} the first"
    stems = {caption_key(image.stem): image for image in images}
    if caption_key(first.stem) in stems:
        return f'{text}: set caption_extension = "{first.suffix}" to read {"it" if len(strays) == 1 else "them"}'
    if first.stem in {image.name for image in images}:
        return f"{text}: name it {Path(first.stem).stem}{first.suffix}, without the image's own suffix"
    guess = nearest(first.stem, stems)
    return f"{text}: if it belongs to {stems[guess].name}, name it {guess}{first.suffix}" if guess else text
