"""Latents from kohya's caches beside the images, where they fit; where they do not, why."""

from __future__ import annotations

import logging
from collections import defaultdict

import torch

from snrlab.models.components import Components
from snrlab.models.encoding.kohya_cache import CacheFamily, KohyaLatents, UnusableError, cache_file, read_kohya_latents
from snrlab.train.inputs.buckets import BucketSlot

logger = logging.getLogger(__name__)


class KohyaReader:
    """Reads the caches and says what became of them."""

    def __init__(self, components: Components) -> None:
        """For a model, whose scaling the latents get."""
        self._components = components
        self._family: CacheFamily = "sdxl" if components.family == "sdxl" else "sd"

    def fill(self, left: dict[BucketSlot, list[str]]) -> None:
        """Take what fits, and off the lists of what is left to make."""
        used = 0
        refused: dict[str, list[str]] = defaultdict(list)
        for place, names in left.items():
            if "latents" not in names:
                continue
            try:
                found = self._read(place)
            except UnusableError as reason:
                refused[str(reason)].append(place.item.name)
                continue
            if found is not None:
                used += 1
                for name in ("latents", "mirrored"):
                    if name in names:
                        place.put(name, self._scaled(found, name))
                        names.remove(name)
        logger.info(f"{used} of {len(left)} images have latents in kohya's caches, which do not say what VAE made them")
        for why, images in refused.items():
            more = f" and {len(images) - 1} more" if len(images) > 1 else ""
            logger.warning(f"kohya's cache of {images[0]}{more} is not used: {why}")

    def _read(self, place: BucketSlot) -> KohyaLatents | None:
        image = place.item.file
        file = None if image is None else cache_file(image, place.item.size, self._family)
        if image is None or file is None:
            return None
        _, channels, height, width = place.bucket.latents.shape
        found = read_kohya_latents(file, image, place.item.size, (channels, height, width))
        if place.item.part.flip and found.mirrored is None:
            raise UnusableError("it has no latents of the mirror image, which data.flip needs")
        return found

    def _scaled(self, found: KohyaLatents, name: str) -> torch.Tensor:
        config = self._components.vae.config
        latents = found.mirrored if name == "mirrored" else found.plain
        return (torch.from_numpy(latents) - (config.get("shift_factor") or 0.0)) * config.scaling_factor
