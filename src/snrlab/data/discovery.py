"""Discovery of the images of one source, with all problems that keep them from being trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from snrlab.core.errors import UserError
from snrlab.data.caption_metadata import listed_folder, read_fine_tuning, read_jsonl
from snrlab.data.folder_layout import ImageFolder, image_folders, single_folder
from snrlab.data.image_folder import METADATA, Folder, counted, first_sentences, folder_summary, relative_to_cwd, scan
from snrlab.data.image_source import Source
from snrlab.data.images.buckets import fit
from snrlab.data.items import Item
from snrlab.data.masks import find_masks, unused_masks


@dataclass(frozen=True)
class Group:
    """Images of one source.

    Attributes:
        source: where they come from.
        items: the images by folder and name, with the repeats that options or folder names state.
        summaries: one line per folder.
        notes: what the user may want to know.
        problems: what keeps the images from being trained on.
        code: of the error that the problems make.
    """

    source: Source
    items: tuple[Item, ...] = ()
    summaries: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    code: str = "unusable-images"


def collect(source: Source) -> Group:
    """Discover the images of a source; errors become the group's problems."""
    try:
        if source.metadata is not None:
            options = source.options
            entries = read_fine_tuning(
                source.metadata, source.folder, options.caption_separator, wildcard=options.wildcards
            )
            folder = ImageFolder(source.metadata)
            return _group_folders(source, [(folder, listed_folder(source.metadata, entries))], ())
        if source.folder is None:
            raise UserError("it names neither a folder nor a metadata file.", code="missing-value")
        folders, notes = (
            ((single_folder(source.folder),), ()) if source.flat else image_folders(source.folder, source.repeats)
        )
        return _group_folders(source, [(folder, _scan_folder(source, folder)) for folder in folders], notes)
    except UserError as error:
        return Group(source, problems=(f"{source.where}: {error}",), code=error.code)


def _scan_folder(source: Source, folder: ImageFolder) -> Folder:
    """Contents of a folder, from its metadata.jsonl if it has one."""
    if (folder.path / METADATA).is_file():
        return listed_folder(folder.path, read_jsonl(folder.path / METADATA))
    lines = "alternatives" if source.options.wildcards else source.several_lines
    return scan(folder.path, extension=source.options.caption_extension, lines=lines)


def _group_folders(source: Source, folders: list[tuple[ImageFolder, Folder]], notes: tuple[str, ...]) -> Group:
    """Group the images of several folders of one source."""
    items: list[Item] = []
    problems: list[str] = []
    all_notes = list(notes)
    for image_folder, contents in folders:
        name = image_folder.path.name
        stated_caption = source.options.caption
        caption = stated_caption if stated_caption is not None else image_folder.class_tokens
        folder_problems = contents.problems(
            caption, caption_is_set=stated_caption is not None, field=source.caption_field
        )
        masks: dict[Path, Path] = {}
        if source.options.masked_loss:
            mask_folder = source.options.masks
            masks, mask_problems = find_masks(contents, None if mask_folder is None else Path(mask_folder))
            folder_problems += mask_problems
        elif count := unused_masks(contents):
            all_notes.append(
                f"{name} has {counted(count, 'mask')}; masked_loss = true would use {'it' if count == 1 else 'them'}"
            )
        problems += [f"{source.where}: {name}: {problem}" for problem in folder_problems]
        all_notes += [f"{name}: {note}" for note in contents.notes()]
        folder_items = _items_of(source, image_folder, contents, caption, masks)
        problems += [
            f"{source.where}: {name}: {problem}" for problem in first_sentences(_size_problems(folder_items), "images")
        ]
        items += folder_items
    summaries = tuple(f"{relative_to_cwd(contents.path)}: {folder_summary(contents.images)}" for _, contents in folders)
    return Group(source, tuple(items), summaries, tuple(all_notes), tuple(problems))


def with_distinct_names(groups: Sequence[Group]) -> tuple[Group, ...]:
    """The same groups with images and parts renamed where needed, so that no two folders have the same name."""
    parts = {(number, item.part.name) for number, group in enumerate(groups) for item in group.items}
    if len(parts) < 2:
        return tuple(groups)
    counts = Counter(name for _, name in parts)

    def renamed(item: Item) -> Item:
        part = item.part
        if counts[part.name] > 1 and item.file is not None:
            part = replace(part, name=f"{item.file.parent.parent.name}/{part.name}")
        return replace(item, name=f"{part.name}/{item.name}", part=part)

    return tuple(replace(group, items=tuple(renamed(item) for item in group.items)) for group in groups)


def _size_problems(items: Sequence[Item]) -> list[str]:
    """Problems with images that fit into no bucket."""
    problems = []
    for item in items:
        try:
            fit(item.size, item.part.resolution, item.part.buckets)
        except UserError as error:
            problems.append(f"{item.name}: {error}")
    return problems


def _items_of(
    source: Source, image_folder: ImageFolder, contents: Folder, caption: str | None, masks: dict[Path, Path]
) -> list[Item]:
    """Items of a folder's images; `caption` is for those without one."""
    options, name = source.options, image_folder.path.name
    given = source.repeats or (options.repeats if options.repeats != 1 else None)
    if given is not None and image_folder.repeats not in (None, given):
        raise UserError(
            f"repeats is {given}, but the folder's name {name} says {image_folder.repeats}. Remove repeats, or rename "
            "the folder.",
            code="conflicting-options",
        )
    part = source.part(name, image_folder.repeats or options.repeats)
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
        for image in contents.images
    ]
