"""Overview of a training set in text: counts, sizes, captions, and the arithmetic of steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from snrlab.data.captions.captions import caption_at
from snrlab.data.dataset import DataDiscovery
from snrlab.data.image_folder import counted
from snrlab.data.images.buckets import Fit, fit
from snrlab.data.items import DataSet, Item

_MAX_ENLARGED = 2.0  # an image enlarged by more than this looks blurred
_MAX_CUT = 0.1  # part of the image area; cropping more than this is worth a note
_SHOWN = 3


def overview(discovery: DataDiscovery, items: Sequence[Item], held_back: Sequence[Item]) -> str:
    """Text about the images of a run, as `snrlab data` prints it."""
    lines = [line for group in discovery.all_groups for line in group.summaries]
    if held_back:
        lines.append(f"{len(held_back)} of them are held back for validation")
    lines += ["", *_counts(items), "", *_sizes(items), "", "captions, such as", *_captions(items)]
    notes = [*discovery.all_notes, *_unused_notes(discovery, items), *_size_notes(items)]
    return "\n".join([*lines, *([""] if notes else []), *(f"note: {note}." for note in notes)])


def arithmetic(pictures: int, batch_size: int, accumulation: int, steps: int) -> str:
    """Number of steps per epoch and of epochs, as one line of arithmetic.

    >>> print(arithmetic(200, 4, 2, 1000))
    200 pictures an epoch / (batch 4 x accumulation 2) = 25 steps an epoch; 1000 steps = 40 epochs.
    """
    epoch = pictures / (batch_size * accumulation)
    batch = f"batch {batch_size} x accumulation {accumulation}"
    text = f"{pictures} pictures an epoch / ({batch}) = {epoch:.4g} steps an epoch; {steps} steps = "
    text += f"{steps / epoch:.4g} epochs."
    return text if epoch >= 1 else f"{text} A step takes more pictures than there are, so some more than once."


def _counts(items: Sequence[Item]) -> Iterator[str]:
    """One line per part: images, repeats, share of the epoch."""
    total = sum(item.repeats for item in items)
    for part, members in _by_part(items).items():
        repeats = [item.repeats for item in members]
        low, high = min(repeats), max(repeats)
        times = f"{low}" if low == high else f"{low} to {high}"
        kind = ", regularisation" if part.regularisation else ""
        weight = "" if part.importance == 1 else f", loss x {part.importance:g}"
        facts = f"{sum(repeats) / total:.0%}{kind}{weight}"
        yield f"{part.name}: {counted(len(repeats), 'image')} x {times} = {sum(repeats)} an epoch ({facts})"


def _sizes(items: Sequence[Item]) -> Iterator[str]:
    """Table of images by the size they are trained at."""
    fits = _fits(items)
    images, pictures = Counter(f.target for f in fits), Counter[tuple[int, int]]()
    for item, image_fit in zip(items, fits, strict=True):
        pictures[image_fit.target] += item.repeats
    yield "size trained at    images  pictures an epoch"
    for (width, height), count in sorted(images.items(), key=lambda entry: entry[0][0] / entry[0][1]):
        yield f"{f'{width}x{height}':<16}{count:>9}{pictures[width, height]:>19}"


def _captions(items: Sequence[Item]) -> Iterator[str]:
    parts = list(_by_part(items).values())
    for item in parts[0][:_SHOWN] if len(parts) == 1 else [members[0] for members in parts[: 2 * _SHOWN]]:
        text = caption_at(item.part.captions, item.captions, np.random.default_rng(0), step=0, steps=1)
        yield f"  {item.name}: {text!r}"
    lengths = [max(len(caption) for caption in item.captions) for item in items]
    longest = items[int(np.argmax(lengths))]
    yield f"  the longest has {max(lengths)} letters, of {longest.name}"


def _size_notes(items: Sequence[Item]) -> Iterator[str]:
    """Notes on images that are cropped or enlarged a lot."""
    fits = _fits(items)
    without_buckets = [image_fit for item, image_fit in zip(items, fits, strict=True) if item.part.buckets is None]
    cropped_parts = [
        1 - image_fit.target[0] * image_fit.target[1] / (image_fit.scaled[0] * image_fit.scaled[1])
        for image_fit in without_buckets
    ]
    if cropped_parts and np.mean(cropped_parts) > _MAX_CUT:
        yield f"cropping cuts off {np.mean(cropped_parts):.0%} of the pictures; buckets = true keeps their aspect ratio"
    enlarged = [
        item.name
        for item, image_fit in zip(items, fits, strict=True)
        if image_fit.scaled[0] > _MAX_ENLARGED * item.size[0] and item.file is not None
    ]
    if enlarged:
        yield f"{counted(len(enlarged), 'image')} enlarged more than twofold and so blurred, {enlarged[0]} the first"


def _by_part(items: Sequence[Item]) -> dict[DataSet, list[Item]]:
    parts: dict[DataSet, list[Item]] = {}
    for item in items:
        parts.setdefault(item.part, []).append(item)
    return parts


def _unused_notes(discovery: DataDiscovery, items: Sequence[Item]) -> Iterator[str]:
    """Note on regularisation images that kohya's rule leaves unused."""
    available = sum(len(group.items) for group in discovery.all_groups if group.source.regularisation)
    used = sum(item.part.regularisation for item in items)
    if used < available:
        yield f"{available - used} of {available} regularisation images are not used: there are fewer training images"


def _fits(items: Sequence[Item]) -> list[Fit]:
    return [fit(item.size, item.part.resolution, item.part.buckets) for item in items]
