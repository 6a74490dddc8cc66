"""One folder of images with captions beside them: what is in it, and what is wrong with it.

`cat.png` takes its caption from `cat.txt`, `cat.caption` or `cat.cap`, or from the folder's `metadata.jsonl`. Anything
Pillow opens is an image; only headers are read here.
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
    """One readable image.

    Attributes:
        path: the file.
        size: width and height in pixels, after EXIF rotation.
        captions: its caption, or the alternatives that its file lists; None where there is none.
        caption_source: suffix of that file, or name of the metadata file; None where there is none.
    """

    path: Path
    size: tuple[int, int]
    captions: tuple[str, ...] | None
    caption_source: str | None


@dataclass(frozen=True)
class Folder:
    """What a folder holds.

    Attributes:
        images: readable images, by name.
        broken: (file, reason) of images that cannot be read.
        wrong: what is wrong with captions, in words.
        strays: caption files that are not read.
        masks: files whose name ends in `-masklabel`, by the stem of their image.
        others: (kind, files) of what is no image but likely meant to be one.
    """

    path: Path
    images: tuple[ImageFile, ...]
    broken: tuple[tuple[Path, str], ...] = ()
    wrong: tuple[str, ...] = ()
    strays: tuple[Path, ...] = ()
    masks: Mapping[str, Path] = field(default_factory=dict)
    others: tuple[tuple[str, tuple[Path, ...]], ...] = ()

    def problems(self, caption: str | None, *, stated: bool = True, field: str = "data.caption") -> list[str]:
        """What keeps this folder from being trained on, in words; empty if nothing does.

        Args:
            caption: of images that have none; None where every image needs its own.
            stated: whether the user wrote that caption, rather than it being read from a folder's name.
            field: where the user may state it.
        """
        found = listed(
            [f"{path.name} cannot be read: {reason}; replace it or take it out." for path, reason in self.broken],
            "images",
        )
        found += listed(list(self.wrong), "captions")
        if not self.images and not self.broken:
            found.append(f"{self.path}: there is no image in this folder.")
        bare = [image.path.name for image in self.images if image.captions is None]
        ignored = self.strays and (not stated or len(bare) == len(self.images))
        if bare and not self.wrong and (caption is None or ignored):
            wrong = f"{len(bare)} of {len(self.images)} images have no caption, {bare[0]} the first."
            if self.strays:
                wrong += f" {unmatched(self.strays, [image.path for image in self.images])}."
            if caption is None:
                wrong += f' Put a .txt beside each, or set {field} = "..." for those without.'
            else:
                wrong += f" Rename or remove them; {caption!r} would be the caption of all these images."
            found.append(wrong)
        return found

    def notes(self) -> list[str]:
        """What is left out of a folder that can be trained on, in words."""
        found = [f"not read: {files_summary(kind, files)}" for kind, files in self.others] if self.images else []
        if self.strays:
            found.append(unmatched(self.strays, [image.path for image in self.images]))
        return found


def from_here(path: Path) -> Path:
    """The path as it is typed in the current folder where it lies below it, else as it is."""
    here = Path.cwd()
    return path.relative_to(here) if here != path and here in path.parents else path


def folder_summary(images: Sequence[ImageFile]) -> str:
    """Counts of images, captions and sizes: `12 images, 12 captions in .txt, 3 sizes: 768x512 (10), ...`."""
    sources = Counter(i.caption_source for i in images if i.captions is not None)
    captions = ", ".join(f"{counted(n, 'caption')} in {source}" for source, n in sources.items()) or "no captions"
    sizes = Counter(i.size for i in images)
    shown = ", ".join(f"{w}x{h} ({n})" for (w, h), n in sizes.most_common(3))
    more = ", ..." if len(sizes) > 3 else ""
    return f"{counted(len(images), 'image')}, {captions}, {counted(len(sizes), 'size')}: {shown}{more}"


def counted(number: int, what: str) -> str:
    """A number of things in words: `1 image`, `2 images`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def scan(path: Path, *, extension: str | None = None, lines: CaptionLines = "join") -> Folder:
    """Read the header of every image of a folder, and its caption.

    Args:
        path: the folder.
        extension: the only suffix of captions to read, or None for any.
        lines: what a caption file of several lines means.

    Raises:
        UserError: the folder does not exist, is a file, or cannot be listed.
    """
    files = files_of(path)
    masks = {
        caption_key(f.stem.removesuffix(MASK_ENDING)): f for f in files if is_image(f) and f.stem.endswith(MASK_ENDING)
    }
    images = [f for f in files if is_image(f) and f not in masks.values()]
    captions = CaptionFiles.among(files, extension)
    readable, broken, wrong = [], [], _shared(images, captions)
    for file in images:
        try:
            size = shown_size(file)
        except UserError as reason:
            broken.append((file, str(reason)))
            continue
        try:
            source = captions.of(file)
            text = None if source is None else read_caption(source, lines)
        except UserError as reason:
            wrong.append(str(reason))
            source, text = None, None
        readable.append(ImageFile(file, size, text, source.suffix.lower() if source else None))
    strays, others = captions.strays(images), kinds_of(files)
    return Folder(path, tuple(readable), tuple(broken), tuple(wrong), strays, masks, others)


def files_of(path: Path) -> list[Path]:
    """The files of a folder by name, without hidden ones.

    Raises:
        UserError: the folder does not exist, is a file, or cannot be listed.
    """
    if not path.is_dir():
        raise UserError(f"{path}: {_no_folder(path)}", code="not-a-folder" if path.exists() else "missing-file")
    try:
        return sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
    except OSError as reason:
        raise UserError(f"{path}: the folder cannot be listed ({reason.strerror}).", code="unreadable-file") from None


def listed(sentences: list[str], what: str) -> list[str]:
    """The first few of many sentences, and how many more there are."""
    more = len(sentences) - _SHOWN
    return [*sentences[:_SHOWN], f"So are {more} more {what}."] if more > 1 else sentences


def _shared(images: Sequence[Path], captions: CaptionFiles) -> list[str]:
    """Complaints about caption files that two images lay claim to, such as cat.png and cat.jpg to cat.txt."""
    by_stem: dict[str, list[Path]] = {}
    for image in images:
        by_stem.setdefault(caption_key(image.stem), []).append(image)
    return [
        f"{' and '.join(i.name for i in same)} share one caption, {next(iter(captions.by_stem[stem].values())).name}; "
        "rename one of the images, or remove it if they are the same picture."
        for stem, same in by_stem.items()
        if len(same) > 1 and captions.by_stem.get(stem)
    ]


def missing(path: Path, kind: str = "folder") -> str:
    """That there is no folder, or no file, at a path, and what has nearly its name."""
    if not path.parent.is_dir():
        return f"there is no such {kind}, and no folder {path.parent} either."
    guess = nearest(path.name, sorted(p.name for p in path.parent.iterdir()))
    return f"there is no such {kind}. Did you mean '{guess}'?" if guess else f"there is no such {kind}."


def kinds_of(files: Sequence[Path]) -> tuple[tuple[str, tuple[Path, ...]], ...]:
    """(kind, files) of those that are no image but likely meant to be one."""
    found = ((kind, tuple(f for f in files if f.suffix.lower() in known)) for kind, known in _KINDS.items())
    return tuple((kind, some) for kind, some in found if some)


def files_summary(kind: str, files: Sequence[Path]) -> str:
    """A kind of files and the first of them: `videos (a.mp4, b.mp4, c.mp4, ...)`."""
    return f"{kind} ({', '.join(f.name for f in files[:3])}{', ...' if len(files) > 3 else ''})"


def _no_folder(path: Path) -> str:
    if not path.exists():
        return missing(path)
    if is_image(path):
        return "this is an image, not a folder; give the folder it is in."
    if path.suffix.lower() in _KINDS["archives"]:
        return "this is a file, not a folder; unpack it and give the folder."
    if path.suffix.lower() == ".toml":
        return "this is a file, not a folder; a kohya dataset TOML goes into data.dataset_config."
    return "this is a file, not a folder."
