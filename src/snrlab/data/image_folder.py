"""One folder of images and their captions: its contents, and the problems that keep it from being trained on.

`cat.png` takes its caption from `cat.txt`, `cat.caption` or `cat.cap`, or from the folder's `metadata.jsonl`. Every
file that Pillow opens is an image; only headers are read here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from snrlab.core.errors import UserError, nearest
from snrlab.data.captions.caption_files import CaptionFiles, CaptionLines, caption_key, read_caption, unmatched
from snrlab.data.images.image_file import is_image, shown_size

METADATA = "metadata.jsonl"
MASK_ENDING = "-masklabel"
_KINDS = {
    "videos": {".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv"},
    "archives": {".zip", ".rar", ".7z", ".tar", ".gz", ".tgz"},
    "pictures that Pillow does not open": {".heic", ".heif", ".jxl", ".svg", ".raw", ".dng", ".cr2", ".nef", ".arw"},
}
_SHOWN = 5


@dataclass(frozen=True)
class ImageFile:
    """One readable image and its caption.

    Attributes:
        path: of the image.
        size: width and height in pixels, after EXIF rotation.
        captions: its caption, or the alternatives that its caption file lists; None without one.
        caption_source: suffix of the caption file, or name of the metadata file; None without a caption.
    """

    path: Path
    size: tuple[int, int]
    captions: tuple[str, ...] | None
    caption_source: str | None


@dataclass(frozen=True)
class Folder:
    """Contents of a folder of images.

    Attributes:
        path: of the folder.
        images: readable images, by name.
        unreadable: (file, reason) of images that cannot be read.
        caption_problems: what is wrong with captions, as sentences.
        stray_captions: caption files that are not used.
        masks: files whose name ends in `-masklabel`, by the stem of their image.
        other_files: (kind, files) of files that are no images but were likely meant as such.
    """

    path: Path
    images: tuple[ImageFile, ...]
    unreadable: tuple[tuple[Path, str], ...] = ()
    caption_problems: tuple[str, ...] = ()
    stray_captions: tuple[Path, ...] = ()
    masks: Mapping[str, Path] = field(default_factory=dict)
    other_files: tuple[tuple[str, tuple[Path, ...]], ...] = ()

    def problems(self, caption: str | None, *, caption_is_set: bool = True, field: str = "data.caption") -> list[str]:
        """Problems that keep this folder from being trained on, as sentences.

        Args:
            caption: for images without one; None if every image needs its own.
            caption_is_set: whether the user set that caption; false if it comes from the folder's name.
            field: the field where the user can set it.
        """
        problems = first_sentences(
            [f"{path.name} cannot be read: {reason}; replace it or take it out." for path, reason in self.unreadable],
            "images",
        )
        problems += first_sentences(list(self.caption_problems), "captions")
        if not self.images and not self.unreadable:
            problems.append(f"{self.path}: there is no image in this folder.")
        uncaptioned = [image.path.name for image in self.images if image.captions is None]
        captions_ignored = self.stray_captions and (not caption_is_set or len(uncaptioned) == len(self.images))
        if uncaptioned and not self.caption_problems and (caption is None or captions_ignored):
            sentence = f"{len(uncaptioned)} of {len(self.images)} images have no caption, {uncaptioned[0]} the first."
            if self.stray_captions:
                sentence += f" {unmatched(self.stray_captions, [image.path for image in self.images])}."
            if caption is None:
                sentence += f' Put a .txt beside each, or set {field} = "..." for those without.'
            else:
                sentence += f" Rename or remove them; {caption!r} would be the caption of all these images."
            problems.append(sentence)
        return problems

    def notes(self) -> list[str]:
        """Notes on files of a usable folder that are left out, as sentences."""
        notes = [f"not read: {files_summary(kind, files)}" for kind, files in self.other_files] if self.images else []
        if self.stray_captions:
            notes.append(unmatched(self.stray_captions, [image.path for image in self.images]))
        return notes


def relative_to_cwd(path: Path) -> Path:
    """Path relative to the current folder if it lies below it, else unchanged."""
    cwd = Path.cwd()
    return path.relative_to(cwd) if cwd != path and cwd in path.parents else path


def folder_summary(images: Sequence[ImageFile]) -> str:
    """Summary of images, captions and sizes: `12 images, 12 captions in .txt, 3 sizes: 768x512 (10), ...`."""
    sources = Counter(i.caption_source for i in images if i.captions is not None)
    captions = ", ".join(f"{counted(n, 'caption')} in {source}" for source, n in sources.items()) or "no captions"
    sizes = Counter(i.size for i in images)
    shown = ", ".join(f"{w}x{h} ({n})" for (w, h), n in sizes.most_common(3))
    more = ", ..." if len(sizes) > 3 else ""
    return f"{counted(len(images), 'image')}, {captions}, {counted(len(sizes), 'size')}: {shown}{more}"


def counted(number: int, noun: str) -> str:
    """Number and noun, in the plural if need be: `1 image`, `2 images`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def scan(path: Path, *, extension: str | None = None, lines: CaptionLines = "join") -> Folder:
    """Scan a folder: read the header and the caption of each of its images.

    Args:
        path: of the folder.
        extension: the only suffix of caption files to read; None reads any.
        lines: what several lines in a caption file mean.

    Raises:
        UserError: the folder does not exist, is a file, or cannot be listed.
    """
    files = files_of(path)
    masks = {
        caption_key(f.stem.removesuffix(MASK_ENDING)): f for f in files if is_image(f) and f.stem.endswith(MASK_ENDING)
    }
    images = [f for f in files if is_image(f) and f not in masks.values()]
    captions = CaptionFiles.among(files, extension)
    readable, unreadable, caption_problems = [], [], _shared_captions(images, captions)
    for file in images:
        try:
            size = shown_size(file)
        except UserError as error:
            unreadable.append((file, str(error)))
            continue
        try:
            source = captions.of(file)
            caption = None if source is None else read_caption(source, lines)
        except UserError as error:
            caption_problems.append(str(error))
            source, caption = None, None
        readable.append(ImageFile(file, size, caption, source.suffix.lower() if source else None))
    stray_captions, other_files = captions.strays(images), kinds_of(files)
    return Folder(path, tuple(readable), tuple(unreadable), tuple(caption_problems), stray_captions, masks, other_files)


def files_of(path: Path) -> list[Path]:
    """List the files of a folder by name, without hidden ones.

    Raises:
        UserError: the folder does not exist, is a file, or cannot be listed.
    """
    if not path.is_dir():
        raise UserError(f"{path}: {_not_a_folder(path)}", code="not-a-folder" if path.exists() else "missing-file")
    try:
        return sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
    except OSError as error:
        raise UserError(f"{path}: the folder cannot be listed ({error.strerror}).", code="unreadable-file") from None


def first_sentences(sentences: list[str], noun: str) -> list[str]:
    """The first few of many sentences, and a count of the rest."""
    more = len(sentences) - _SHOWN
    return [*sentences[:_SHOWN], f"The same goes for {more} more {noun}."] if more > 1 else sentences


def _shared_captions(images: Sequence[Path], captions: CaptionFiles) -> list[str]:
    """Problems with caption files that two images share, such as cat.txt for cat.png and cat.jpg."""
    by_stem: dict[str, list[Path]] = {}
    for image in images:
        by_stem.setdefault(caption_key(image.stem), []).append(image)
    return [
        f"{' and '.join(i.name for i in sharing)} share one caption, "
        f"{next(iter(captions.by_stem[stem].values())).name}; rename one of the images, "
        "or remove it if they are the same picture."
        for stem, sharing in by_stem.items()
        if len(sharing) > 1 and captions.by_stem.get(stem)
    ]


def missing(path: Path, kind: str = "folder") -> str:
    """Sentence saying that a folder or file does not exist, with the nearest name that does."""
    if not path.parent.is_dir():
        return f"there is no such {kind}, and no folder {path.parent} either."
    guess = nearest(path.name, sorted(p.name for p in path.parent.iterdir()))
    return f"there is no such {kind}. Did you mean '{guess}'?" if guess else f"there is no such {kind}."


def kinds_of(files: Sequence[Path]) -> tuple[tuple[str, tuple[Path, ...]], ...]:
    """(kind, files) of files that are no images but were likely meant as such."""
    files_by_kind = (
        (kind, tuple(f for f in files if f.suffix.lower() in suffixes)) for kind, suffixes in _KINDS.items()
    )
    return tuple((kind, members) for kind, members in files_by_kind if members)


def files_summary(kind: str, files: Sequence[Path]) -> str:
    """Kind of files and the first few of them: `videos (a.mp4, b.mp4, c.mp4, ...)`."""
    return f"{kind} ({', '.join(f.name for f in files[:3])}{', ...' if len(files) > 3 else ''})"


def _not_a_folder(path: Path) -> str:
    """Sentence saying why a path is not a folder, with advice."""
    if not path.exists():
        return missing(path)
    if is_image(path):
        return "this is an image, not a folder; give the folder it is in."
    if path.suffix.lower() in _KINDS["archives"]:
        return "this is a file, not a folder; unpack it and give the folder."
    if path.suffix.lower() == ".toml":
        return "this is a file, not a folder; a kohya dataset TOML goes into data.dataset_config."
    return "this is a file, not a folder."
