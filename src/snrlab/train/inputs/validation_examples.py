"""The validation set: images that are not trained on, encoded once, by size."""

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
class ValidationBucket:
    """The examples of one size in a validation set.

    Attributes:
        latents: [N, C, h, w].
        sizes: SDXL's size and crop conditions [N, 6]; None for other families.
        captions: one for each example.
        text: their embeddings, or None where a text encoder is trained.
        names: file names or code points.
    """

    latents: Tensor
    sizes: Tensor | None
    captions: tuple[str, ...]
    text: TextEmbeddings | None
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ValidationExamples:
    """The validation set of a run, by size."""

    by_size: tuple[ValidationBucket, ...]

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
    """Encode the validation set, or None if empty: the middle of each image, not mirrored, with its whole caption."""
    if not items:
        return None
    unaugmented = [replace(item, part=replace(item.part, flip=False, random_crop=False)) for item in items]
    with opened_cache(config) as cache:
        buckets = encode_images(
            components, unaugmented, device, batch=config.data.vae_batch_size, cache=cache, processes=processes
        )
        captions = [fixed_caption(item) for item in unaugmented]
        text = None if config.train.trains_text else embed(components, captions, cache, processes)
    groups = []
    for bucket in buckets:
        bucket_captions = tuple(captions[i] for i in bucket.members)
        names = tuple(unaugmented[i].name for i in bucket.members)
        sizes = bucket.sizes[0] if components.family == "sdxl" else None
        groups.append(
            ValidationBucket(
                bucket.latents, sizes, bucket_captions, None if text is None else text.of(bucket_captions), names
            )
        )
    return ValidationExamples(tuple(groups))
