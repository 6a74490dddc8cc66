"""The cache folder of a run, for encoded images and captions, and the room that it needs on the disk."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from snrlab.config.run import RunConfig
from snrlab.core.findings.finding import Finding
from snrlab.data.items import Item
from snrlab.models.components import Components
from snrlab.models.encoding.cache import Cache

logger = logging.getLogger(__name__)
CACHE_FOLDER = Path("~/.cache/snrlab")
_CHUNK = 77  # embeddings for every 75 tokens of a caption
_FP32 = 4  # bytes of an fp32 number


def cache_folder(config: RunConfig) -> Path:
    """The folder in which a run with data.cache keeps encoded images and captions."""
    return Path(config.data.cache_folder) if config.data.cache_folder else CACHE_FOLDER.expanduser()


@contextmanager
def opened_cache(config: RunConfig) -> Iterator[Cache | None]:
    """Context with the open cache of a run, or None if it has none."""
    if not config.data.cache:
        yield None
        return
    logger.debug(f"cache: {cache_folder(config)}")
    with Cache(cache_folder(config)) as cache:
        yield cache


def cache_size(config: RunConfig, items: Sequence[Item], components: Components) -> int:
    """Upper bound of the bytes that the latents and caption embeddings of a run take in the cache."""
    channels = components.unet.config.in_channels
    latents = 0
    for item in items:
        width, height = item.part.resolution
        area = width * height // components.latent_factor**2
        latents += _FP32 * channels * area * (2 if item.part.flip else 1)
    text = 0
    if not config.train.trains_text:
        length = _CHUNK * config.model.max_tokens // 75
        text = _FP32 * components.unet.config.cross_attention_dim * length * (len(items) + 1)
    return latents + text


def tight_cache(config: RunConfig, items: Sequence[Item], components: Components, folder: Path) -> Finding | None:
    """Warning that the disk has less room than the cache may take, or None."""
    needed = cache_size(config, items, components)
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(nearest).free
    if free >= needed:
        return None
    return Finding(
        "cache_room",
        "warning",
        f"data.cache may take up to {needed / 2**30:.1f} GB, and {folder} has {free / 2**30:.1f} GB free.",
        "Choose another data.cache_folder, or set data.cache = false.",
        {"needed": needed, "free": free},
    )
