"""Caption files: the one that belongs to an image, and its text."""

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
_NOT_CAPTIONS = {"readme", "license", "licence", "notice", "credits", "copying", "changelog"}


def caption_key(stem: str) -> str:
    """Key that an image and its caption file share: the stem in NFC, because file systems differ in accents."""
    return unicodedata.normalize("NFC", stem)


@dataclass(frozen=True)
class CaptionFiles:
    """The caption files of a folder.

    Attributes:
        by_stem: files by `caption_key`, then by suffix in lower case.
        extension: the only suffix that is read; None reads any of `_SUFFIXES`.
    """

    by_stem: Mapping[str, Mapping[str, Path]] = field(default_factory=dict)
    extension: str | None = None

    @classmethod
    def among(cls, files: Iterable[Path], extension: str | None) -> CaptionFiles:
        """Find the caption files among the files of a folder."""
        suffixes = {*_SUFFIXES, extension}
        by_stem: dict[str, dict[str, Path]] = {}
        for file in files:
            if file.suffix.lower() in suffixes and file.stem.lower() not in _NOT_CAPTIONS:
                by_stem.setdefault(caption_key(file.stem), {})[file.suffix.lower()] = file
        return cls(by_stem, extension)

    def of(self, image: Path) -> Path | None:
        """Caption file of an image; None if it has none.

        Raises:
            UserError: it has several; the message names them.
        """
        by_suffix = self.by_stem.get(caption_key(image.stem), {})
        if self.extension is not None:
            return by_suffix.get(self.extension)
        if len(by_suffix) > 1:
            names = " and ".join(file.name for file in by_suffix.values())
            raise UserError(
                f'{image.name} has {names}; state which to read, such as caption_extension = ".txt".',
                code="ambiguous-caption",
            )
        return next(iter(by_suffix.values()), None)

    def strays(self, images: Iterable[Path]) -> tuple[Path, ...]:
        """Caption files that belong to no image, or whose suffix is not read."""
        stems = {caption_key(image.stem) for image in images}
        return tuple(
            file
            for stem, files in sorted(self.by_stem.items())
            for suffix, file in files.items()
            if stem not in stems or self.extension not in (None, suffix)
        )


def read_caption(file: Path, lines: CaptionLines) -> tuple[str, ...]:
    """Read a caption file: its lines joined to one caption, the first line, or all lines as alternatives.

    Raises:
        UserError: it cannot be read, is empty or not UTF-8.
    """
    check_regular_file(file, largest=LARGEST_TEXT)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file.name} cannot be read ({error.strerror}).", code="unreadable-file") from None
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UserError(f"{file.name} is UTF-16 text; save it as UTF-8.", code="not-utf8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        position = f"byte {data[error.start]:#04x} in line {data[: error.start].count(10) + 1}"
        raise UserError(f"{file.name} is not UTF-8 text ({position}); save it as UTF-8.", code="not-utf8") from None
    stripped = [" ".join(line.split()) for line in text.splitlines()]
    filled = [line for line in stripped if line]
    if not filled or (lines == "first" and not stripped[0]):
        problem = "is empty" if not filled else "starts with an empty line"
        raise UserError(
            f'{file.name} {problem}; write a caption, or delete it and set caption = "" to train without one.',
            code="missing-caption",
        )
    if lines == "join":
        return (" ".join(filled),)
    return tuple(filled) if lines == "alternatives" else (stripped[0],)


def unmatched(strays: Sequence[Path], images: Sequence[Path]) -> str:
    """Note on caption files that match no image, with the likely reason if there is one."""
    first = strays[0]
    text = f"{len(strays)} caption {'file is' if len(strays) == 1 else 'files are'} not used, {first.name} the first"
    stems = {caption_key(image.stem): image for image in images}
    if caption_key(first.stem) in stems:
        return f'{text}: set caption_extension = "{first.suffix}" to read {"it" if len(strays) == 1 else "them"}'
    if first.stem in {image.name for image in images}:
        return f"{text}: name it {Path(first.stem).stem}{first.suffix}, without the image's own suffix"
    guess = nearest(first.stem, stems)
    return f"{text}: if it belongs to {stems[guess].name}, name it {guess}{first.suffix}" if guess else text
