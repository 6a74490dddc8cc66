"""Images in the cache: under which keys, and how many were there."""

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
from snrlab.train.inputs.buckets import BucketSlot

logger = logging.getLogger(__name__)


class ImageCache:
    """The images' part of a cache."""

    def __init__(self, cache: Cache, components: Components) -> None:
        """With the autoencoder that makes what is not there."""
        self._cache, self._components = cache, components
        self._hashes: dict[Path, str] = {}
        self._changed: dict[Path, int] = {}  # when each was edited last before that

    def fill(self, left: dict[BucketSlot, list[str]]) -> None:
        """Take what is there, and off the lists of what is left to make."""
        todo = {place: names for place, names in left.items() if names}
        files = {path for place in todo for path in (place.item.file, place.item.mask) if path is not None}
        self._changed = {path: path.stat().st_mtime_ns for path in files}
        with ThreadPoolExecutor() as pool:
            self._hashes = dict(zip(files, pool.map(file_hash, files), strict=True))
        for place, names in todo.items():
            for name in list(names):
                found = self._cache.get(self._key(place, name))
                if found is not None:
                    place.put(name, found)
                    names.remove(name)
        there = sum(not names for names in todo.values())
        logger.info(f"{there} of {len(todo)} images were in the cache {self._cache.folder}")

    def add(self, made: Iterable[tuple[BucketSlot, str, Tensor]]) -> None:
        """Keep what has been made together, but for images whose files have been edited since they were hashed."""
        self._cache.add({self._key(place, name): value for place, name, value in made if self._unchanged(place)})

    def _unchanged(self, place: BucketSlot) -> bool:
        files = [path for path in (place.item.file, place.item.mask) if path is not None]
        return all(path.stat().st_mtime_ns == self._changed[path] for path in files)

    @cached_property
    def _autoencoder(self) -> str:
        return fingerprint(self._components.vae)

    def _key(self, place: BucketSlot, name: str) -> str:
        """The key of an image's latents, or of its mask, by all that decides their values."""
        item, cut = place.item, {"scaled": place.fit.scaled, "target": place.fit.target, "exact": place.fit.exact}
        if name == "masks":
            source = self._hash(item.mask) if item.mask is not None else self._picture(place)
            via = "file" if item.mask is not None else "alpha"
            return cache_key(kind="mask", source=source, via=via, factor=self._components.latent_factor, **cut)
        picture = self._picture(place)
        return cache_key(kind="latents", picture=picture, vae=self._autoencoder, mirrored=name == "mirrored", **cut)

    def _picture(self, place: BucketSlot) -> str:
        item = place.item
        if item.file is not None:
            return self._hash(item.file)
        assert item.pixels is not None
        return hashlib.sha256(item.pixels.tobytes()).hexdigest() + str(item.pixels.shape)

    def _hash(self, path: Path) -> str:
        """Of the file's content as it was when the run began."""
        return self._hashes[path]
