"""What training would see, in words: counts, sizes, captions, the arithmetic of steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from snrlab.data.captions.captions import caption_at
from snrlab.data.dataset import DataDiscovery
from snrlab.data.image_folder import counted
from snrlab.data.images.buckets import Fit, fit
from snrlab.data.items import DataSet, Item

_ENLARGED = 2.0  # from here on an enlarged image looks blurred
_CUT = 0.1  # part of the picture area whose loss is worth a remark
_SHOWN = 3


def overview(found: DataDiscovery, items: Sequence[Item], held_back: Sequence[Item]) -> str:
    """Everything about the images of a run, as `snrlab data` prints it."""
    lines = [line for group in found.all_groups for line in group.summaries]
    if held_back:
        lines.append(f"{len(held_back)} of them are held back for validation")
    lines += ["", *_counts(items), "", *_sizes(items), "", "captions, such as", *_captions(items)]
    remarks = [*found.remarks, *_unused(found, items), *_size_remarks(items)]
    return "\n".join([*lines, *([""] if remarks else []), *(f"note: {remark}." for remark in remarks)])


def arithmetic(pictures: int, batch_size: int, accumulation: int, steps: int) -> str:
    """How pictures become steps, where a batch does not hold more than there are, which training refuses.

    >>> print(arithmetic(200, 4, 2, 1000))
    200 pictures an epoch / (batch 4 x accumulation 2) = 25 steps an epoch; 1000 steps = 40 epochs.
    """
    epoch = pictures / (batch_size * accumulation)
    batch = f"batch {batch_size} x accumulation {accumulation}"
    text = f"{pictures} pictures an epoch / ({batch}) = {epoch:.4g} steps an epoch; {steps} steps = "
    text += f"{steps / epoch:.4g} epochs."
    return text if epoch >= 1 else f"{text} A step takes more pictures than there are, so some more than once."


def _counts(items: Sequence[Item]) -> Iterator[str]:
    """Images, repeats and pictures of each part."""
    total = sum(item.repeats for item in items)
    for part, members in _by_part(items).items():
        repeats = [item.repeats for item in members]
        low, high = min(repeats), max(repeats)
        times = f"{low}" if low == high else f"{low} to {high}"
        what = ", regularisation" if part.regularisation else ""
        counts = "" if part.importance == 1 else f", loss x {part.importance:g}"
        facts = f"{sum(repeats) / total:.0%}{what}{counts}"
        yield f"{part.name}: {counted(len(repeats), 'image')} x {times} = {sum(repeats)} an epoch ({facts})"


def _sizes(items: Sequence[Item]) -> Iterator[str]:
    """Images and pictures by the size they are trained at."""
    fits = _fits(items)
    images, pictures = Counter(f.target for f in fits), Counter[tuple[int, int]]()
    for item, place in zip(items, fits, strict=True):
        pictures[place.target] += item.repeats
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


def _size_remarks(items: Sequence[Item]) -> Iterator[str]:
    """What scaling and cropping do to the pictures, where it is much."""
    fits = _fits(items)
    plain = [place for item, place in zip(items, fits, strict=True) if item.part.buckets is None]
    cut = [1 - place.target[0] * place.target[1] / (place.scaled[0] * place.scaled[1]) for place in plain]
    if cut and np.mean(cut) > _CUT:
        yield f"cropping cuts off {np.mean(cut):.0%} of the pictures; buckets = true keeps their aspect ratio"
    enlarged = [
        item.name
        for item, place in zip(items, fits, strict=True)
        if place.scaled[0] > _ENLARGED * item.size[0] and item.file is not None
    ]
    if enlarged:
        yield f"{counted(len(enlarged), 'image')} more than twofold enlarged, so blurred, {enlarged[0]} the first"


def _by_part(items: Sequence[Item]) -> dict[DataSet, list[Item]]:
    found: dict[DataSet, list[Item]] = {}
    for item in items:
        found.setdefault(item.part, []).append(item)
    return found


def _unused(found: DataDiscovery, items: Sequence[Item]) -> Iterator[str]:
    """Regularisation images that are more than kohya's rule needs."""
    there = sum(len(group.items) for group in found.all_groups if group.source.regularisation)
    used = sum(item.part.regularisation for item in items)
    if used < there:
        yield f"{there - used} of {there} regularisation images are not used: the others are fewer than them"


def _fits(items: Sequence[Item]) -> list[Fit]:
    return [fit(item.size, item.part.resolution, item.part.buckets) for item in items]
