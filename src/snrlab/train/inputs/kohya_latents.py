"""Latents from kohya's caches next to the images, where they fit the run."""

from __future__ import annotations

import logging
from collections import defaultdict

import torch

from snrlab.models.components import Components
from snrlab.models.encoding.kohya_cache import CacheFamily, KohyaLatents, UnusableError, cache_file, read_kohya_latents
from snrlab.train.inputs.bucket_tensors import BucketSlot

logger = logging.getLogger(__name__)


class KohyaReader:
    """Reads kohya's caches and logs which were used, and why others were not."""

    def __init__(self, components: Components) -> None:
        """Read latents for this model, with the scaling of its autoencoder."""
        self._components = components
        self._family: CacheFamily = "sdxl" if components.family == "sdxl" else "sd"

    def fill(self, left: dict[BucketSlot, list[str]]) -> None:
        """Fill slots from caches that fit, and remove the names of their tensors from the lists in `left`."""
        used = 0
        refused: dict[str, list[str]] = defaultdict(list)
        for slot, names in left.items():
            if "latents" not in names:
                continue
            try:
                latents = self._read(slot)
            except UnusableError as error:
                refused[str(error)].append(slot.item.name)
                continue
            if latents is not None:
                used += 1
                for name in ("latents", "mirrored"):
                    if name in names:
                        slot.put(name, self._scaled(latents, name))
                        names.remove(name)
        logger.info(f"{used} of {len(left)} images have latents in kohya's caches, which do not say what VAE made them")
        for reason, images in refused.items():
            more = f" and {len(images) - 1} more" if len(images) > 1 else ""
            logger.warning(f"kohya's cache of {images[0]}{more} is not used: {reason}")

    def _read(self, slot: BucketSlot) -> KohyaLatents | None:
        image = slot.item.file
        file = None if image is None else cache_file(image, slot.item.size, self._family)
        if image is None or file is None:
            return None
        _, channels, height, width = slot.bucket.latents.shape
        latents = read_kohya_latents(file, image, slot.item.size, (channels, height, width))
        if slot.item.part.flip and latents.mirrored is None:
            raise UnusableError("it has no latents of the mirror image, which data.flip needs")
        return latents

    def _scaled(self, latents: KohyaLatents, name: str) -> torch.Tensor:
        config = self._components.vae.config
        values = latents.mirrored if name == "mirrored" else latents.plain
        return (torch.from_numpy(values) - (config.get("shift_factor") or 0.0)) * config.scaling_factor
