"""Metadata files with the captions of many images: Hugging Face's metadata.jsonl and kohya's fine-tuning metadata."""

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

_MAX_SIZE = 2**30  # bytes: millions of captions


@dataclass(frozen=True)
class CaptionEntry:
    """Entry of a metadata file: one image and its captions.

    Attributes:
        name: of the image as the metadata file has it, for messages.
        file: the image; it may not exist.
        captions: its caption, or the alternatives.
    """

    name: str
    file: Path
    captions: tuple[str, ...]


def listed_folder(path: Path, entries: Sequence[CaptionEntry]) -> Folder:
    """Folder of the images that a metadata file lists; an image that does not exist is a problem.

    Args:
        path: the metadata file; or the folder of a metadata.jsonl, whose unlisted images then have no caption.
        entries: of the metadata file.
    """
    source = METADATA if path.is_dir() else path.name
    exists = [entry.file.is_file() for entry in entries]
    existing = [entry for entry, is_file in zip(entries, exists, strict=True) if is_file]
    absent = [entry.name for entry, is_file in zip(entries, exists, strict=True) if not is_file]
    problems = (
        [f"it names files that are not there, {len(absent)} of {len(entries)}, {absent[0]} the first; correct it."]
        if absent
        else []
    )
    neighbours = files_of(path) if path.is_dir() else []
    captioned_twice = CaptionFiles.among(neighbours, None).by_stem.keys() & {
        caption_key(entry.file.stem) for entry in existing
    }
    if captioned_twice:
        problems.append(
            f"{counted(len(captioned_twice), 'image')} with a caption file too, {min(captioned_twice)} the first; "
            "keep only one of the two."
        )
    listed = {entry.file.resolve() for entry in existing}
    unlisted = [f for f in neighbours if is_image(f) and f.resolve() not in listed and not f.stem.endswith(MASK_ENDING)]
    images, unreadable = [], []
    for file, captions in [*((entry.file, entry.captions) for entry in existing), *((f, None) for f in unlisted)]:
        try:
            images.append(ImageFile(file, shown_size(file), captions, source if captions else None))
        except UserError as error:
            unreadable.append((file, str(error)))
    return Folder(path, tuple(images), tuple(unreadable), tuple(f"{source}: {problem}" for problem in problems))


def read_jsonl(file: Path) -> tuple[CaptionEntry, ...]:
    """Read a metadata.jsonl: one object per line with `file_name` and `text`.

    Raises:
        UserError: a line is not such an object, or names an image that another line names.
    """
    entries: dict[str, CaptionEntry] = {}
    for number, line in _read_lines(file):
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
        if name in entries:
            raise UserError(f"{where}: {name} is named twice.", code="stated-twice")
        entries[name] = CaptionEntry(name, file.parent / name, (text,))
    return tuple(entries.values())


def read_fine_tuning(file: Path, images: Path | None, separator: str, *, wildcard: bool) -> tuple[CaptionEntry, ...]:
    """Read kohya's fine-tuning metadata: JSON {image: {caption, tags}}, or JSON lines {image_path, caption, tags}.

    Args:
        file: the metadata file.
        images: folder that relative names start from; names may lack the suffix.
        separator: text between caption and tags.
        wildcard: whether the caption's lines are alternatives, each of which gets the tags.

    Raises:
        UserError: it cannot be read, or an entry has neither caption nor tags.
    """
    entries = []
    for name, values in _read_fine_tuning(file).items():
        path = Path(name)
        if not path.is_absolute() and images is None:
            raise UserError(
                f"{file.name} names {name}, which is relative: state image_dir, the folder it is in.",
                code="missing-value",
            )
        captions = _captions_with_tags(values, separator, wildcard)
        if not captions:
            raise UserError(f"{file.name}: {name} has neither caption nor tags.", code="missing-caption")
        entries.append(CaptionEntry(name, _complete_name(path if images is None else images / path), captions))
    if not entries:
        raise UserError(f"{file.name}: it names no image.", code="no-images")
    return tuple(entries)


def _read_fine_tuning(file: Path) -> Mapping[str, Mapping[str, Any]]:
    """Values of each image by its name, from either format."""
    if file.suffix.lower() == ".jsonl":
        values_by_name = {}
        for number, line in _read_lines(file):
            if not isinstance(line.get("image_path"), str):
                raise UserError(f'{file.name}, line {number}: there is no text "image_path".', code="invalid-content")
            values_by_name[line["image_path"]] = line
        return values_by_name
    text = _read_text(file)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file.name}: not valid JSON: {error}.", code="invalid-json") from None
    if not isinstance(data, dict) or not all(isinstance(values, dict) for values in data.values()):
        raise UserError(
            f'{file.name}: write {{"IMAGE": {{"caption": "...", "tags": "..."}}, ...}}.', code="invalid-content"
        )
    return data


def _captions_with_tags(values: Mapping[str, Any], separator: str, wildcard: bool) -> tuple[str, ...]:
    """The caption followed by its tags, as kohya joins them; with wildcards each line of the caption."""
    caption, tags = (str(values.get(name) or "").strip() for name in ("caption", "tags"))
    tags = separator.join(tags.splitlines())
    lines = [line.strip() for line in caption.splitlines() if line.strip()]
    if not wildcard:
        lines = lines[:1]
    return tuple(f"{line}{separator}{tags}" if tags else line for line in lines) or ((tags,) if tags else ())


def _complete_name(path: Path) -> Path:
    """Path of an image, completed with the suffix that kohya's older metadata leaves out."""
    if path.exists() or not path.parent.is_dir():
        return path
    matches = [p for p in sorted(path.parent.glob(f"{escape(path.name)}.*")) if is_image(p)]
    if len(matches) > 1:
        raise UserError(
            f"the metadata names {path.name}, which may be {' or '.join(p.name for p in matches)}.",
            code="ambiguous-folder",
        )
    return matches[0] if matches else path


def _read_lines(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of each line of a JSON lines file that is not empty."""
    for number, line in enumerate(_read_text(file).split("\n"), start=1):
        if line.strip():
            try:
                data = json.loads(line)
            except (ValueError, RecursionError) as error:
                text = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
                raise UserError(f"{file.name}, line {number}: not valid JSON: {text}.", code="invalid-json") from None
            if not isinstance(data, dict):
                raise UserError(
                    f"{file.name}, line {number}: this is not an object such as {{...}}.", code="invalid-content"
                )
            yield number, data


def _read_text(file: Path) -> str:
    check_regular_file(file, largest=_MAX_SIZE)
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{file}: it cannot be read ({error.strerror}).", code="unreadable-file") from None
    except UnicodeDecodeError:
        raise UserError(f"{file.name} is not UTF-8 text; save it as UTF-8.", code="not-utf8") from None
