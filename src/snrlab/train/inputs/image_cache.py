"""Encoded images in the cache: their keys, and reading and writing them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

from torch import Tensor

from snrlab.models.components import Components
from snrlab.models.encoding.cache import Cache, cache_key, file_hash, fingerprint
from snrlab.train.inputs.bucket_tensors import BucketSlot

logger = logging.getLogger(__name__)


class ImageCache:
    """The part of a cache that holds latents and masks."""

    def __init__(self, cache: Cache, components: Components) -> None:
        """Use a cache for images that the autoencoder of these components encodes."""
        self._cache, self._components = cache, components
        self._hashes: dict[Path, str] = {}
        self._changed: dict[Path, int] = {}  # times of change of the files, before they were hashed

    def fill(self, left: dict[BucketSlot, list[str]]) -> None:
        """Fill slots from the cache, and remove the names of their tensors from the lists in `left`."""
        incomplete = {slot: names for slot, names in left.items() if names}
        files = {path for slot in incomplete for path in (slot.item.file, slot.item.mask) if path is not None}
        self._changed = {path: path.stat().st_mtime_ns for path in files}
        with ThreadPoolExecutor() as pool:
            self._hashes = dict(zip(files, pool.map(file_hash, files), strict=True))
        for slot, names in incomplete.items():
            for name in list(names):
                tensor = self._cache.get(self._key(slot, name))
                if tensor is not None:
                    slot.put(name, tensor)
                    names.remove(name)
        complete = sum(not names for names in incomplete.values())
        logger.info(f"{complete} of {len(incomplete)} images were in the cache {self._cache.folder}")

    def add(self, made: Iterable[tuple[BucketSlot, str, Tensor]]) -> None:
        """Cache tensors that were encoded together, except of images edited since they were hashed."""
        self._cache.add({self._key(slot, name): value for slot, name, value in made if self._unchanged(slot)})

    def _unchanged(self, slot: BucketSlot) -> bool:
        files = [path for path in (slot.item.file, slot.item.mask) if path is not None]
        return all(path.stat().st_mtime_ns == self._changed[path] for path in files)

    @cached_property
    def _autoencoder(self) -> str:
        return fingerprint(self._components.vae)

    def _key(self, slot: BucketSlot, name: str) -> str:
        """Cache key of an image's latents or mask, made of everything that their values depend on."""
        item, cut = slot.item, {"scaled": slot.fit.scaled, "target": slot.fit.target, "exact": slot.fit.exact}
        if name == "masks":
            source = self._file_hash(item.mask) if item.mask is not None else self._hash_pixels(slot)
            via = "file" if item.mask is not None else "alpha"
            return cache_key(kind="mask", source=source, via=via, factor=self._components.latent_factor, **cut)
        picture = self._hash_pixels(slot)
        return cache_key(kind="latents", picture=picture, vae=self._autoencoder, mirrored=name == "mirrored", **cut)

    def _hash_pixels(self, slot: BucketSlot) -> str:
        item = slot.item
        if item.file is not None:
            return self._file_hash(item.file)
        assert item.pixels is not None
        return hashlib.sha256(item.pixels.tobytes()).hexdigest() + str(item.pixels.shape)

    def _file_hash(self, path: Path) -> str:
        """Hash of the file's content when the run began."""
        return self._hashes[path]
