"""Examples that are held back from training, to measure on: encoded once, those of one size together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from snrlab.config.run import RunConfig
from snrlab.data.items import Item
from snrlab.distributed import SINGLE, Processes
from snrlab.models.components import Components
from snrlab.models.encoding.encode import TextEmbeddings
from snrlab.train.inputs.cache_folder import opened_cache
from snrlab.train.inputs.caption_embeddings import embed
from snrlab.train.inputs.examples import fixed_caption
from snrlab.train.inputs.images import encode_images


@dataclass(frozen=True, eq=False)
class HeldBackSize:
    """Examples of one size for validation.

    Attributes:
        latents: [N, C, h, w].
        sizes: what SDXL is told of them [N, 6]; None for other families.
        captions: one text each; text: their embeddings, or None where a text encoder is trained.
        names: file names or code points.
    """

    latents: Tensor
    sizes: Tensor | None
    captions: tuple[str, ...]
    text: TextEmbeddings | None
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ValidationExamples:
    """Examples for validation, those of one size together."""

    by_size: tuple[HeldBackSize, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """File names or code points."""
        return tuple(name for group in self.by_size for name in group.names)


def encode_validation_examples(
    config: RunConfig,
    components: Components,
    items: Sequence[Item],
    device: torch.device,
    processes: Processes = SINGLE,
) -> ValidationExamples | None:
    """The examples for validation, or None: the middle of each image, never mirrored, with its whole caption."""
    if not items:
        return None
    still = [replace(item, part=replace(item.part, flip=False, random_crop=False)) for item in items]
    with opened_cache(config) as cache:
        buckets = encode_images(
            components, still, device, batch=config.data.vae_batch_size, cache=cache, processes=processes
        )
        captions = [fixed_caption(item) for item in still]
        text = None if config.train.trains_text else embed(components, captions, cache, processes)
    found = []
    for bucket in buckets:
        mine = tuple(captions[i] for i in bucket.members)
        names = tuple(still[i].name for i in bucket.members)
        sizes = bucket.sizes[0] if components.family == "sdxl" else None
        found.append(HeldBackSize(bucket.latents, sizes, mine, None if text is None else text.of(mine), names))
    return ValidationExamples(tuple(found))
