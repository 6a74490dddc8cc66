"""The images of a run, encoded once: bucket by bucket, from a cache where they are in one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from snrlab.data.images.buckets import Fit
from snrlab.data.images.pixels import View, centre_crop, to_latent_size
from snrlab.data.items import Item
from snrlab.distributed import SINGLE, Processes
from snrlab.models.components import Components
from snrlab.models.encoding.cache import Cache
from snrlab.models.encoding.encode import encode_pixels
from snrlab.progress import Throughput
from snrlab.train.inputs.buckets import Bucket, BucketSlot, bucket_slots
from snrlab.train.inputs.image_cache import ImageCache
from snrlab.train.inputs.kohya_latents import KohyaReader

_NAMES = ("latents", "mirrored", "masks")  # the tensors of an image that can be made once
AT_ONCE = 32
AHEAD = 32  # images that are decoded before their turn
PIXELS_AT_ONCE = 1024 * 1024  # with no batch size stated: one picture of SDXL's size, four of SD 1.5's


def encode_images(
    components: Components,
    items: Sequence[Item],
    device: torch.device,
    *,
    batch: int | None = None,
    cache: Cache | None = None,
    kohya: bool = False,
    processes: Processes = SINGLE,
) -> tuple[Bucket, ...]:
    """The images by size, the smallest width first.

    Args:
        components: their autoencoder is on the device.
        items: the images.
        device: where the autoencoder is.
        batch: images encoded at once; None is as many as have the pixels of one of 1024x1024, at most 32.
        cache: asked first and added to.
        kohya: take latents from kohya's `.npz` files beside the images.
        processes: those that do it together; each encodes its part, and all get all of it.

    Raises:
        UserError: an image that cannot be read or fits no bucket, or an autoencoder that makes no numbers of it.
    """
    everything = bucket_slots(components, items)
    left = {place: place.wanted for place in everything}
    known = ImageCache(cache, components) if cache is not None else None

    def fill() -> None:
        if kohya:
            KohyaReader(components).fill(left)
        if known is not None:
            known.fill(left)

    processes.agreed(fill)
    _agree(left, processes)
    chunks = list(_chunks([place for place, names in left.items() if names], batch))
    processes.agreed(lambda: _encode(components, processes.mine(chunks), left, known, device))
    _share(chunks, left, processes)
    return tuple(dict.fromkeys(place.bucket for place in everything))


def _encode(
    components: Components,
    chunks: Sequence[list[BucketSlot]],
    left: dict[BucketSlot, list[str]],
    known: ImageCache | None,
    device: torch.device,
) -> None:
    """Decode and encode the images of these chunks."""
    throughput = Throughput("images", sum(map(len, chunks)))
    for chunk, views in _viewed(iter(chunks)):
        made: list[tuple[BucketSlot, str, Tensor]] = []
        for name in _NAMES:
            rows = [i for i, place in enumerate(chunk) if name in left[place]]
            if rows:
                values = _make(name, components, [chunk[i] for i in rows], [views[i] for i in rows], device)
                made += [(chunk[i], name, value) for i, value in zip(rows, values, strict=True)]
        for place, name, value in made:
            place.put(name, value)
        if known is not None:
            known.add(made)
        throughput.update(len(chunk))
    throughput.close()


def _agree(left: dict[BucketSlot, list[str]], processes: Processes) -> None:
    """Make what one process is missing, as where it found a shard damaged, be missing for all."""
    if processes.count == 1:
        return
    places = list(left)
    missing = {pair for own in processes.everyones(_missing(left)) for pair in own}
    for index, name in missing:
        if name not in left[places[index]]:
            left[places[index]].append(name)
    for names in left.values():
        names.sort()


def _missing(left: dict[BucketSlot, list[str]]) -> set[tuple[int, str]]:
    return {(index, name) for index, names in enumerate(left.values()) for name in names}


def _share(chunks: Sequence[list[BucketSlot]], left: dict[BucketSlot, list[str]], processes: Processes) -> None:
    """Give every process what the others have encoded: rows that are its own, and zeros for the rest, added up."""
    if processes.count == 1:
        return
    mine = {id(chunk) for chunk in processes.mine(chunks)}
    for chunk in chunks:
        for name in _NAMES:
            rows = [place for place in chunk if name in left[place]]
            if not rows:
                continue
            values = torch.stack([getattr(place.bucket, name)[place.row] for place in rows])
            if id(chunk) not in mine:
                values.zero_()
            processes.add_up([values])
            for place, value in zip(rows, values, strict=True):
                place.put(name, value)


def _chunks(todo: list[BucketSlot], batch: int | None) -> Iterator[list[BucketSlot]]:
    """Places of one bucket each, as many as are encoded at once."""
    for bucket in dict.fromkeys(place.bucket for place in todo):
        mine = [place for place in todo if place.bucket is bucket]
        count = batch or max(1, min(AT_ONCE, PIXELS_AT_ONCE // (bucket.size[0] * bucket.size[1])))
        for start in range(0, len(mine), count):
            yield mine[start : start + count]


def _viewed(chunks: Iterator[list[BucketSlot]]) -> Iterator[tuple[list[BucketSlot], list[View]]]:
    """Each chunk with its decoded images; those of the next ones are decoded meanwhile by other threads."""
    ahead: deque[tuple[list[BucketSlot], list[Future[View]]]] = deque()
    with ThreadPoolExecutor() as pool:
        for chunk in chunks:
            ahead.append((chunk, [pool.submit(centre_crop, place.item, place.fit) for place in chunk]))
            while len(ahead) > 1 and sum(len(c) for c, _ in ahead) > AHEAD:
                yield _decoded(*ahead.popleft())
        while ahead:
            yield _decoded(*ahead.popleft())


def _decoded(chunk: list[BucketSlot], views: list[Future[View]]) -> tuple[list[BucketSlot], list[View]]:
    return chunk, [view.result() for view in views]


def _make(
    name: str, components: Components, chunk: list[BucketSlot], views: list[View], device: torch.device
) -> Sequence[Tensor]:
    """One tensor of each image."""
    if name == "masks":
        return [mask_latents(components, v, place.fit) for v, place in zip(views, chunk, strict=True)]
    pixels = np.stack([(v.mirrored if name == "mirrored" else v).pixels for v in views])
    return list(encode_pixels(components, pixels, device, batch_size=len(pixels)))


def mask_latents(components: Components, seen: View, place: Fit) -> Tensor:
    """An image's mask at the size of its latents [1, h, w], ones where there is none."""
    if seen.mask is None:
        return torch.ones(1, *(side // components.latent_factor for side in reversed(place.target)))
    return torch.from_numpy(to_latent_size(seen.mask, components.latent_factor))[None]
