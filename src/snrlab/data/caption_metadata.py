"""Captions that one file holds for many images: Hugging Face's metadata.jsonl and kohya's fine-tuning metadata."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any

from snrlab.core.errors import UserError
from snrlab.core.regular_file import check_regular_file
from snrlab.data.captions.caption_files import CaptionFiles, caption_key
from snrlab.data.image_folder import MASK_ENDING, METADATA, Folder, ImageFile, counted, files_of
from snrlab.data.images.image_file import is_image, shown_size

_LARGEST = 2**30  # bytes: millions of captions


@dataclass(frozen=True)
class CaptionEntry:
    """One image of a metadata file.

    Attributes:
        name: as the file names it, for messages.
        file: the image; it may not exist.
        captions: its caption, or alternatives.
    """

    name: str
    file: Path
    captions: tuple[str, ...]


def listed_folder(path: Path, entries: Sequence[CaptionEntry]) -> Folder:
    """The images that a metadata file lists; each must be there.

    Args:
        path: the metadata file; or the folder whose metadata.jsonl it is, where images that it does not list count as
            images without a caption.
        entries: what it lists.
    """
    where = METADATA if path.is_dir() else path.name
    exists = [entry.file.is_file() for entry in entries]
    there = [entry for entry, found in zip(entries, exists, strict=True) if found]
    absent = [entry.name for entry, found in zip(entries, exists, strict=True) if not found]
    wrong = (
        [f"it names files that are not there, {len(absent)} of {len(entries)}, {absent[0]} the first; correct it."]
        if absent
        else []
    )
    beside = files_of(path) if path.is_dir() else []
    doubled = CaptionFiles.among(beside, None).by_stem.keys() & {caption_key(entry.file.stem) for entry in there}
    if doubled:
        wrong.append(
            f"{counted(len(doubled), 'image')} with a caption file too, {min(doubled)} the first; remove one of both."
        )
    named = {entry.file.resolve() for entry in there}
    unlisted = [f for f in beside if is_image(f) and f.resolve() not in named and not f.stem.endswith(MASK_ENDING)]
    images, broken = [], []
    for file, captions in [*((entry.file, entry.captions) for entry in there), *((f, None) for f in unlisted)]:
        try:
            images.append(ImageFile(file, shown_size(file), captions, where if captions else None))
        except UserError as reason:
            broken.append((file, str(reason)))
    return Folder(path, tuple(images), tuple(broken), tuple(f"{where}: {problem}" for problem in wrong))


def read_jsonl(file: Path) -> tuple[CaptionEntry, ...]:
    """The entries of a metadata.jsonl: one object a line with `file_name` and `text`.

    Raises:
        UserError: a line is no such object, or names an image that another line names.
    """
    found: dict[str, CaptionEntry] = {}
    for number, line in _lines(file):
        where = f"{file.name}, line {number}"
        for name in ("file_name", "text"):
            if not isinstance(line.get(name), str):
                raise UserError(
                    f'{where}: there is no text "{name}"; it has {", ".join(line) or "nothing"}.',
                    code="invalid-content",
                )
        name, text = line["file_name"], " ".join(line["text"].split())
        if not text:
            raise UserError(
                f"{where}: the text of {name} is empty; write a caption, or leave the line out.", code="missing-caption"
            )
        if name in found:
            raise UserError(f"{where}: {name} is named twice.", code="stated-twice")
        found[name] = CaptionEntry(name, file.parent / name, (text,))
    return tuple(found.values())


def read_fine_tuning(file: Path, images: Path | None, separator: str, *, wildcard: bool) -> tuple[CaptionEntry, ...]:
    """The entries of kohya's metadata: JSON of {image: {caption, tags}}, or a line {image_path, caption, tags} each.

    Args:
        file: the metadata.
        images: folder that relative names start from; names may lack the suffix.
        separator: put between caption and tags.
        wildcard: the caption's lines are alternatives, and each gets the tags.

    Raises:
        UserError: it cannot be read, or an entry has neither caption nor tags.
    """
    entries = []
    for name, values in _fine_tuning(file).items():
        path = Path(name)
        if not path.is_absolute() and images is None:
            raise UserError(
                f"{file.name} names {name}, which is relative: state image_dir, the folder it is in.",
                code="missing-value",
            )
        captions = _with_tags(values, separator, wildcard)
        if not captions:
            raise UserError(f"{file.name}: {name} has neither caption nor tags.", code="missing-caption")
        entries.append(CaptionEntry(name, _with_suffix(path if images is None else images / path), captions))
    if not entries:
        raise UserError(f"{file.name}: it names no image.", code="no-images")
    return tuple(entries)


def _fine_tuning(file: Path) -> Mapping[str, Mapping[str, Any]]:
    if file.suffix.lower() == ".jsonl":
        found = {}
        for number, line in _lines(file):
            if not isinstance(line.get("image_path"), str):
                raise UserError(f'{file.name}, line {number}: there is no text "image_path".', code="invalid-content")
            found[line["image_path"]] = line
        return found
    text = _text(file)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as reason:
        raise UserError(f"{file.name}: not valid JSON: {reason}.", code="invalid-json") from None
    if not isinstance(data, dict) or not all(isinstance(values, dict) for values in data.values()):
        raise UserError(
            f'{file.name}: write {{"IMAGE": {{"caption": "...", "tags": "..."}}, ...}}.', code="invalid-content"
        )
    return data


def _with_tags(values: Mapping[str, Any], separator: str, wildcard: bool) -> tuple[str, ...]:
    """The caption with the tags behind, as kohya puts them together; every line of it with wildcards."""
    caption, tags = (str(values.get(name) or "").strip() for name in ("caption", "tags"))
    tags = separator.join(tags.splitlines())
    lines = [line.strip() for line in caption.splitlines() if line.strip()]
    if not wildcard:
        lines = lines[:1]
    return tuple(f"{line}{separator}{tags}" if tags else line for line in lines) or ((tags,) if tags else ())


def _with_suffix(path: Path) -> Path:
    """The image of that name, whose suffix kohya's older metadata leaves out."""
    if path.exists() or not path.parent.is_dir():
        return path
    found = [p for p in sorted(path.parent.glob(f"{escape(path.name)}.*")) if is_image(p)]
    if len(found) > 1:
        raise UserError(
            f"the metadata names {path.name}, which may be {' or '.join(p.name for p in found)}.",
            code="ambiguous-folder",
        )
    return found[0] if found else path


def _lines(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(_text(file).split("\n"), start=1):
        if line.strip():
            try:
                data = json.loads(line)
            except (ValueError, RecursionError) as reason:
                text = reason.msg if isinstance(reason, json.JSONDecodeError) else str(reason)
                raise UserError(f"{file.name}, line {number}: not valid JSON: {text}.", code="invalid-json") from None
            if not isinstance(data, dict):
                raise UserError(
                    f"{file.name}, line {number}: this is no object such as {{...}}.", code="invalid-content"
                )
            yield number, data


def _text(file: Path) -> str:
    check_regular_file(file, largest=_LARGEST)
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as reason:
        raise UserError(f"{file}: it cannot be read ({reason.strerror}).", code="unreadable-file") from None
    except UnicodeDecodeError:
        raise UserError(f"{file.name} is not UTF-8 text; save it as UTF-8.", code="not-utf8") from None
