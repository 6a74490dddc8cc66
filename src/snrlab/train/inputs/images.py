"""Encoding of the images of a run: each once, bucket by bucket, or read from a cache."""

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
from snrlab.train.inputs.bucket_tensors import Bucket, BucketSlot, bucket_slots
from snrlab.train.inputs.image_cache import ImageCache
from snrlab.train.inputs.kohya_latents import KohyaReader

_NAMES = ("latents", "mirrored", "masks")  # tensors that are computed once for an image
MAX_BATCH = 32  # images encoded at once
DECODED_AHEAD = 32  # images that are decoded before their turn
BATCH_PIXELS = 1024 * 1024  # of a batch by default: one image of SDXL's size, four of SD 1.5's


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
    """Encode the images into buckets, the smallest width first.

    Args:
        components: the model, with its autoencoder on the device.
        items: the images.
        device: where the autoencoder is.
        batch: images encoded at once; None is as many as have the pixels of one image of 1024x1024, at most 32.
        cache: read first, and extended by what has to be encoded.
        kohya: use latents from kohya's `.npz` files next to the images.
        processes: the processes that encode together; each encodes a part, and all get all of it.

    Raises:
        UserError: an image that cannot be read or fits no bucket, or an autoencoder whose latents are not finite.
    """
    slots = bucket_slots(components, items)
    left = {slot: slot.tensor_names for slot in slots}
    image_cache = ImageCache(cache, components) if cache is not None else None

    def fill() -> None:
        if kohya:
            KohyaReader(components).fill(left)
        if image_cache is not None:
            image_cache.fill(left)

    processes.all_or_none(fill)
    _agree_on_missing(left, processes)
    chunks = list(_split_chunks([slot for slot, names in left.items() if names], batch))
    processes.all_or_none(lambda: _encode_chunks(components, processes.mine(chunks), left, image_cache, device))
    _share_tensors(chunks, left, processes)
    return tuple(dict.fromkeys(slot.bucket for slot in slots))


def _encode_chunks(
    components: Components,
    chunks: Sequence[list[BucketSlot]],
    left: dict[BucketSlot, list[str]],
    image_cache: ImageCache | None,
    device: torch.device,
) -> None:
    """Decode and encode the images of these chunks."""
    throughput = Throughput("images", sum(map(len, chunks)))
    for chunk, views in _decode_ahead(iter(chunks)):
        made: list[tuple[BucketSlot, str, Tensor]] = []
        for name in _NAMES:
            rows = [i for i, slot in enumerate(chunk) if name in left[slot]]
            if rows:
                values = _make_tensors(name, components, [chunk[i] for i in rows], [views[i] for i in rows], device)
                made += [(chunk[i], name, value) for i, value in zip(rows, values, strict=True)]
        for slot, name, value in made:
            slot.put(name, value)
        if image_cache is not None:
            image_cache.add(made)
        throughput.update(len(chunk))
    throughput.close()


def _agree_on_missing(left: dict[BucketSlot, list[str]], processes: Processes) -> None:
    """Mark a tensor that one process is missing, for example because of a damaged cache, as missing in all."""
    if processes.count == 1:
        return
    slots = list(left)
    missing = {pair for missing_here in processes.gather_objects(_missing(left)) for pair in missing_here}
    for index, name in missing:
        if name not in left[slots[index]]:
            left[slots[index]].append(name)
    for names in left.values():
        names.sort()


def _missing(left: dict[BucketSlot, list[str]]) -> set[tuple[int, str]]:
    return {(index, name) for index, names in enumerate(left.values()) for name in names}


def _share_tensors(chunks: Sequence[list[BucketSlot]], left: dict[BucketSlot, list[str]], processes: Processes) -> None:
    """Share the encoded rows among the processes, as a sum with zeros for the rows of the others."""
    if processes.count == 1:
        return
    mine = {id(chunk) for chunk in processes.mine(chunks)}
    for chunk in chunks:
        for name in _NAMES:
            rows = [slot for slot in chunk if name in left[slot]]
            if not rows:
                continue
            values = torch.stack([getattr(slot.bucket, name)[slot.row] for slot in rows])
            if id(chunk) not in mine:
                values.zero_()
            processes.sum_([values])
            for slot, value in zip(rows, values, strict=True):
                slot.put(name, value)


def _split_chunks(todo: list[BucketSlot], batch: int | None) -> Iterator[list[BucketSlot]]:
    """Batches of slots to encode at once, each from one bucket."""
    for bucket in dict.fromkeys(slot.bucket for slot in todo):
        slots_in_bucket = [slot for slot in todo if slot.bucket is bucket]
        count = batch or max(1, min(MAX_BATCH, BATCH_PIXELS // (bucket.size[0] * bucket.size[1])))
        for start in range(0, len(slots_in_bucket), count):
            yield slots_in_bucket[start : start + count]


def _decode_ahead(chunks: Iterator[list[BucketSlot]]) -> Iterator[tuple[list[BucketSlot], list[View]]]:
    """Chunks with their decoded images; other threads decode the following chunks ahead."""
    ahead: deque[tuple[list[BucketSlot], list[Future[View]]]] = deque()
    with ThreadPoolExecutor() as pool:
        for chunk in chunks:
            ahead.append((chunk, [pool.submit(centre_crop, slot.item, slot.fit) for slot in chunk]))
            while len(ahead) > 1 and sum(len(c) for c, _ in ahead) > DECODED_AHEAD:
                yield _await_views(*ahead.popleft())
        while ahead:
            yield _await_views(*ahead.popleft())


def _await_views(chunk: list[BucketSlot], views: list[Future[View]]) -> tuple[list[BucketSlot], list[View]]:
    return chunk, [view.result() for view in views]


def _make_tensors(
    name: str, components: Components, chunk: list[BucketSlot], views: list[View], device: torch.device
) -> Sequence[Tensor]:
    """One tensor, `name`, of each image."""
    if name == "masks":
        return [mask_latents(components, v, slot.fit) for v, slot in zip(views, chunk, strict=True)]
    pixels = np.stack([(v.mirrored if name == "mirrored" else v).pixels for v in views])
    return list(encode_pixels(components, pixels, device, batch_size=len(pixels)))


def mask_latents(components: Components, view: View, target_fit: Fit) -> Tensor:
    """An image's mask at the size of its latents [1, h, w]; ones if it has none."""
    if view.mask is None:
        return torch.ones(1, *(side // components.latent_factor for side in reversed(target_fit.target)))
    return torch.from_numpy(to_latent_size(view.mask, components.latent_factor))[None]
