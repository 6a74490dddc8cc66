"""Training examples: images and captions, encoded once where possible, and looked up by step and slot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snrlab.config.run import RunConfig
from snrlab.core.errors import UserError
from snrlab.core.random_streams import stream
from snrlab.data.captions.captions import caption_at, is_dropped
from snrlab.data.example_order import Order
from snrlab.data.items import Item
from snrlab.distributed import SINGLE, Processes
from snrlab.models.components import Components
from snrlab.models.encoding.encode import TextEmbeddings, encode_text
from snrlab.train.inputs.bucket_tensors import Bucket
from snrlab.train.inputs.cache_folder import opened_cache
from snrlab.train.inputs.caption_embeddings import Embeddings, embed
from snrlab.train.inputs.images import encode_images
from snrlab.train.inputs.random_crops import RandomCrops
from snrlab.train.step.batch import Batch
from snrlab.train.step.draws import Slots, StepRandomness

ON_DEVICE = 256 * 2**20  # bytes; latents, and embeddings, up to this size are kept on the training device


@dataclass(frozen=True, eq=False)
class TrainingExamples:
    """The encoded examples of a run, and their order.

    Attributes:
        items: the images; an item with repeats counts as several entries.
        buckets: their latents by size.
        order: assigns entries to the slots of every step.
        text: embeddings of the captions that are known beforehand; None where a text encoder is trained.
        crops: cuts windows out of the images that are cropped at random.
    """

    config: RunConfig
    draws: StepRandomness
    items: tuple[Item, ...]
    buckets: tuple[Bucket, ...]
    order: Order
    text: Embeddings | None
    crops: RandomCrops = field(default_factory=RandomCrops)

    def __len__(self) -> int:
        """Number of entries, with repeats: the slots of an epoch."""
        return self.order.entries

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the images."""
        return tuple(item.name for item in self.items)

    @property
    def needs_autoencoder(self) -> bool:
        """Whether images are encoded at every step."""
        return any(bucket.crops.any() for bucket in self.buckets)

    @property
    def needs_text_encoders(self) -> bool:
        """Whether captions are encoded at every step."""
        return self.text is None or any(item.part.captions.varies for item in self.items)

    def epoch(self, step: int) -> int:
        """Passes over all entries that are completed when a step begins."""
        return step * self.draws.total // len(self)

    def images_at(self, step: int, slots: Slots) -> tuple[int, list[int]]:
        """(epoch, indices of the images) for the slots of a step."""
        bucket = self.buckets[self.order.bucket(step)]
        return self.epoch(step), bucket.members[self.order.rows(step, slots)].tolist()

    def captions(self, step: int, slots: Slots) -> list[str]:
        """The captions for the slots of a step, as the network sees them."""
        epoch, indices = self.images_at(step, slots)
        return [self._caption(self.items[i], step, int(s), epoch) for i, s in zip(indices, slots, strict=True)]

    def batch(self, components: Components, step: int, slots: Slots, device: torch.device) -> Batch:
        """The batch for the slots of a step."""
        bucket, rows = self.buckets[self.order.bucket(step)], self.order.rows(step, slots)
        flips, crops = bucket.flips[rows], bucket.crops[rows]
        # drawn only where an image is mirrored or cropped at random
        augmentation = self.draws.augmentation(step, slots) if (flips | crops).any() else np.ones((len(rows), 3))
        flipped = (augmentation[:, 0] < 0.5) & flips
        x0, mask, sizes = _read_bucket(bucket, rows, flipped)
        for i in np.flatnonzero(crops):
            index, row, mirrored = bucket.members[rows[i]], rows[i], bool(flipped[i])
            crop = self.crops.of(self.items[index], bucket.fits[row], augmentation[i, 1:], mirrored)
            x0[i] = crop.encoded(components, device)[0]
            sizes[i] = torch.tensor(crop.sizes)
            if mask is not None:
                mask[i] = crop.mask(components.latent_factor)
        importance = bucket.importance[rows]
        return Batch(
            x0.to(device),
            self._text(components, self.captions(step, slots)).to(device),
            sizes.to(device) if components.family == "sdxl" else None,
            None if mask is None else mask.to(device),
            None if (importance == 1).all() else importance.to(device),
        )

    def _text(self, components: Components, captions: Sequence[str]) -> TextEmbeddings:
        known = None if self.text is None else self.text.of(captions)
        return encode_text(components, captions) if known is None else known

    def _caption(self, item: Item, step: int, slot: int, epoch: int) -> str:
        options, seed = item.part.captions, self.config.seed_of_steps
        may_drop = options.caption_dropout or options.caption_dropout_every_n_epochs
        if may_drop and is_dropped(options, stream(seed, "dropout", step, slot), epoch):
            return ""
        if not options.varies:
            return fixed_caption(item)
        rng = stream(seed, "caption", step, slot)
        return caption_at(options, item.captions, rng, step=step, steps=self.config.train.steps)


def fixed_caption(item: Item) -> str:
    """An image's caption where nothing is drawn: its first alternative with all tags in their order."""
    return caption_at(item.part.captions.fixed, item.captions, np.random.default_rng(0), step=0, steps=1)


def _read_bucket(
    bucket: Bucket, rows: NDArray[np.int64], flipped: NDArray[np.bool_]
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Latents, masks and sizes of rows of a bucket, mirrored where `flipped`."""
    row_indices, is_flipped = torch.from_numpy(rows), torch.from_numpy(flipped)
    x0 = bucket.latents[row_indices]
    if bucket.mirrored is not None:
        x0 = torch.where(is_flipped.view(-1, 1, 1, 1).to(x0.device), bucket.mirrored[row_indices], x0)
    mask = None if bucket.masks is None else bucket.masks[row_indices]
    if mask is not None:
        mask = torch.where(is_flipped.view(-1, 1, 1, 1).to(mask.device), mask.flip(3), mask)
    return x0, mask, bucket.sizes[is_flipped.long(), row_indices]


def encode_examples(
    config: RunConfig,
    components: Components,
    draws: StepRandomness,
    items: tuple[Item, ...],
    device: torch.device,
    processes: Processes = SINGLE,
) -> TrainingExamples:
    """Encode the images and captions that can be encoded once, shared among the processes.

    Raises:
        UserError: an image that cannot be used, or data.cache where nothing can be cached.
    """
    data = config.data
    if data.cache and all(item.part.random_crop for item in items):
        error = UserError(
            "data.cache is set, but with random_crop every image is cropped and encoded anew at every step: there is "
            "nothing to keep. Leave one of them out.",
            code="conflicting-options",
        )
        processes.refuse(error)
    with opened_cache(config) as cache:
        buckets = encode_images(
            components,
            items,
            device,
            batch=data.vae_batch_size,
            cache=cache,
            kohya=data.kohya_cache,
            processes=processes,
        )
        text = None
        if not config.train.trains_text:
            fixed = [fixed_caption(item) for item in items if not item.part.captions.varies]
            text = embed(components, [*fixed, ""], cache, processes)
    repeats = np.array([item.repeats for item in items])
    order = Order(
        config.seed_of_steps,
        draws.total,
        tuple(np.repeat(np.arange(len(b.members)), repeats[b.members]) for b in buckets),
    )
    if sum(bucket.bytes for bucket in buckets) <= ON_DEVICE:
        buckets = tuple(bucket.to(device) for bucket in buckets)
    if text is not None and text.bytes <= ON_DEVICE:
        text = text.to(device)
    return TrainingExamples(config, draws, items, buckets, order, text)
