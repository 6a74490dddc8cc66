"""The images of a source, or all that is wrong with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from snrlab.core.errors import UserError
from snrlab.data.caption_metadata import listed_folder, read_fine_tuning, read_jsonl
from snrlab.data.folder_layout import ImageFolder, alone, image_folders
from snrlab.data.image_folder import METADATA, Folder, counted, folder_summary, from_here, listed, scan
from snrlab.data.image_source import Source
from snrlab.data.images.buckets import fit
from snrlab.data.items import Item
from snrlab.data.masks import find_masks, unused_masks


@dataclass(frozen=True)
class Group:
    """What was found of one source.

    Attributes:
        items: its images by folder and name, with the repeats that its options or folder names state.
        summaries: one line per folder.
        notes: what the user may want to know.
        problems: what keeps it from being trained on.
        code: of the error that these are.
    """

    source: Source
    items: tuple[Item, ...] = ()
    summaries: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    code: str = "unusable-images"


def collect(source: Source) -> Group:
    """Look for the images of a source; what is wrong is in the group's problems."""
    try:
        if source.metadata is not None:
            options = source.options
            entries = read_fine_tuning(
                source.metadata, source.folder, options.caption_separator, wildcard=options.wildcards
            )
            place = ImageFolder(source.metadata)
            return _group(source, [(place, listed_folder(source.metadata, entries))], ())
        if source.folder is None:
            raise UserError("it names neither a folder nor a metadata file.", code="missing-value")
        found, notes = ((alone(source.folder),), ()) if source.flat else image_folders(source.folder)
        return _group(source, [(place, _folder(source, place)) for place in found], notes)
    except UserError as mistake:
        return Group(source, problems=(f"{source.where}: {mistake}",), code=mistake.code)


def _folder(source: Source, place: ImageFolder) -> Folder:
    if (place.path / METADATA).is_file():
        return listed_folder(place.path, read_jsonl(place.path / METADATA))
    lines = "alternatives" if source.options.wildcards else source.several_lines
    return scan(place.path, extension=source.options.caption_extension, lines=lines)


def _group(source: Source, folders: list[tuple[ImageFolder, Folder]], notes: tuple[str, ...]) -> Group:
    """The images of several folders of one source."""
    items: list[Item] = []
    problems: list[str] = []
    left_out = list(notes)
    for place, folder in folders:
        name = place.path.name
        stated = source.options.caption
        caption = stated if stated is not None else place.class_tokens
        wrong = folder.problems(caption, stated=stated is not None, field=source.caption_field)
        masks: dict[Path, Path] = {}
        if source.options.masked_loss:
            stated_masks = source.options.masks
            masks, wrong_masks = find_masks(folder, None if stated_masks is None else Path(stated_masks))
            wrong += wrong_masks
        elif count := unused_masks(folder):
            left_out.append(
                f"{name} has {counted(count, 'mask')}; masked_loss = true would use {'it' if count == 1 else 'them'}"
            )
        problems += [f"{source.where}: {name}: {problem}" for problem in wrong]
        left_out += [f"{name}: {note}" for note in folder.notes()]
        found = _items(source, place, folder, caption, masks)
        problems += [f"{source.where}: {name}: {problem}" for problem in listed(_misfits(found), "images")]
        items += found
    summaries = tuple(f"{from_here(folder.path)}: {folder_summary(folder.images)}" for _, folder in folders)
    return Group(source, tuple(items), summaries, tuple(left_out), tuple(problems))


def distinct(groups: Sequence[Group]) -> tuple[Group, ...]:
    """The same groups, with images and parts named so that no two folders are mistaken for one another."""
    parts = {(number, item.part.name) for number, group in enumerate(groups) for item in group.items}
    if len(parts) < 2:
        return tuple(groups)
    often = Counter(name for _, name in parts)

    def named(item: Item) -> Item:
        part = item.part
        if often[part.name] > 1 and item.file is not None:
            part = replace(part, name=f"{item.file.parent.parent.name}/{part.name}")
        return replace(item, name=f"{part.name}/{item.name}", part=part)

    return tuple(replace(group, items=tuple(named(item) for item in group.items)) for group in groups)


def _misfits(items: Sequence[Item]) -> list[str]:
    """Complaints about images that no size of the buckets suits."""
    wrong = []
    for item in items:
        try:
            fit(item.size, item.part.resolution, item.part.buckets)
        except UserError as reason:
            wrong.append(f"{item.name}: {reason}")
    return wrong


def _items(
    source: Source, place: ImageFolder, folder: Folder, caption: str | None, masks: dict[Path, Path]
) -> list[Item]:
    options, name = source.options, place.path.name
    if place.repeats is not None and options.repeats != 1:
        raise UserError(
            f"repeats is {options.repeats}, but the name of {name} states {place.repeats}; keep one of both.",
            code="conflicting-options",
        )
    part = source.part(name, place.repeats or options.repeats)
    return [
        Item(
            name=image.path.name,
            file=image.path,
            pixels=None,
            size=image.size,
            captions=(caption or "",) if image.captions is None else image.captions,
            part=part,
            mask=masks.get(image.path),
            repeats=part.repeats,
        )
        for image in folder.images
    ]
