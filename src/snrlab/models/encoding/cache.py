"""A folder of tensors by what they were made from: latents and text embeddings that outlive a run.

A key is the hash of everything that decides a tensor's values: the bytes of the picture, the weights of the network,
the size it is cut to. So nothing stale can be found: what is edited has another key. Tensors lie in safetensors shards
that appear whole, under a name from their content, and hold a checksum of each tensor; several processes may read and
add at the same time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
import uuid
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from snrlab.core.errors import UserError
from snrlab.models.storage.safetensors_file import to_bytes

logger = logging.getLogger(__name__)

FORMAT = "1"  # to be raised when the same facts come to make other tensors, as after a change of how pixels are cut
PREFIX = "cache-"
SHARD_BYTES = 64 * 2**20
SHARD_SECONDS = 20.0  # what an interruption costs at most
ABANDONED_SECONDS = 24 * 3600.0


class Cache:
    """Tensors in a folder, by key. Use it as a context: on leaving, what was added last is written."""

    def __init__(self, folder: Path) -> None:
        """Open the folder, made where it is missing.

        Args:
            folder: holds the shards; other files in it are left alone.

        Raises:
            UserError: the folder cannot be made or listed.
        """
        self.folder = folder
        self._shards: dict[str, Path] = {}  # by key
        self._sums: dict[str, int] = {}
        self._open: dict[Path, safe_open] = {}
        self._new: dict[str, Tensor] = {}
        self._held = 0  # bytes of these
        self._since = time.monotonic()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            files = sorted(folder.glob(f"{PREFIX}*"))
        except OSError as reason:
            raise UserError(
                f"data.cache_folder: {folder} cannot be used ({reason.strerror}).", code="unwritable-file"
            ) from None
        for file in files:
            if file.suffix == ".safetensors":
                self._read_header(file)
            elif file.suffix == ".tmp":
                _remove_abandoned(file)

    def __enter__(self) -> Cache:
        return self

    def __exit__(self, *_: object) -> None:
        """Write what was added last, also where work was interrupted."""
        self.write()
        self._open.clear()

    def get(self, key: str) -> Tensor | None:
        """The tensor, on the CPU; None where there is none or its shard is damaged, which then is removed."""
        if key in self._new:
            return self._new[key]
        shard = self._shards.get(key)
        if shard is None:
            return None
        if shard not in self._open:
            file = self._verified(shard)
            if file is None:
                self._lose(shard)
                return None
            self._open[shard] = file
        return self._open[shard].get_tensor(key)

    def add(self, tensors: Mapping[str, Tensor]) -> None:
        """Keep tensors that were made together; they are on disk once enough has come together, all of them or none.

        So what an interruption leaves is made again in the same batches: last digits depend on what is beside.
        """
        kept = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
        self._new |= kept
        self._held += sum(tensor.nbytes for tensor in kept.values())
        if self._held >= SHARD_BYTES or time.monotonic() - self._since >= SHARD_SECONDS:
            self.write()

    def write(self) -> None:
        """Write what was added since the last time as one shard.

        Raises:
            UserError: the disk is full, or the folder cannot be written to.
        """
        self._since = time.monotonic()
        if not self._new:
            return
        sums = {key: checksum(tensor) for key, tensor in self._new.items()}
        content = to_bytes(self._new, {"snrlab.cache": FORMAT, "sums": json.dumps(sums, sort_keys=True)})
        path = self.folder / f"{PREFIX}{hashlib.sha256(content).hexdigest()[:24]}.safetensors"
        temporary = self.folder / f"{PREFIX}{uuid.uuid4().hex}.tmp"  # another process may write the same content
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if path.exists():
                temporary.unlink()
            else:
                temporary.replace(path)
        except OSError as reason:
            temporary.unlink(missing_ok=True)
            raise UserError(
                f"data.cache_folder: {self.folder} cannot be written to ({reason.strerror}).", code="unwritable-file"
            ) from None
        self._shards |= dict.fromkeys(sums, path)
        self._sums |= sums
        self._new, self._held = {}, 0

    def _read_header(self, shard: Path) -> None:
        try:
            with safe_open(str(shard), framework="pt") as file:
                metadata = file.metadata() or {}
                keys = set(file.keys())
            if metadata.get("snrlab.cache") != FORMAT:
                return  # another version's; not ours to touch
            sums = json.loads(metadata["sums"])
        except FileNotFoundError:
            return  # another process has just found it damaged
        except (SafetensorError, OSError, ValueError, KeyError):
            self._lose(shard)
            return
        for key in keys & sums.keys():
            self._shards[key], self._sums[key] = shard, int(sums[key])

    def _verified(self, shard: Path) -> safe_open | None:
        """The open shard; None where it is gone or one of its tensors is damaged.

        All are looked at before one is served: what is lost with the shard is then made and added again.
        """
        try:
            file = safe_open(str(shard), framework="pt")
            mine = [key for key, path in self._shards.items() if path == shard]
            whole = all(checksum(file.get_tensor(key)) == self._sums[key] for key in mine)
        except (SafetensorError, OSError):
            return None
        return file if whole else None

    def _lose(self, shard: Path) -> None:
        lost = [key for key, path in self._shards.items() if path == shard]
        for key in lost:
            del self._shards[key]
        self._open.pop(shard, None)
        logger.warning(f"cache: {shard.name} is damaged and is made again.")
        with suppress(OSError):  # Windows keeps a file that another process has open
            shard.unlink(missing_ok=True)


def checksum(tensor: Tensor) -> int:
    """CRC-32 of a tensor's bytes."""
    return zlib.crc32(_raw(tensor))


def cache_key(**facts: object) -> str:
    """The key of what is made from these facts: their hash, the same for equal facts.

    >>> cache_key(a=1, b="x") == cache_key(b="x", a=1) != cache_key(a=2, b="x")
    True
    """
    text = json.dumps(facts | {"format": FORMAT}, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(network: nn.Module) -> str:
    """SHA-256 of a network's weights and configuration; several threads hash its tensors.

    The weights in memory are hashed, not the file: a separate VAE file, another number format or a LoRA that has been
    merged in are then told apart.
    """
    config = getattr(network, "config", {})
    config = config if isinstance(config, dict) else config.to_dict()
    stated = {name: value for name, value in config.items() if not name.startswith("_") and "version" not in name}
    tensors = dict(sorted(network.state_dict().items()))
    with ThreadPoolExecutor() as pool:
        sums = pool.map(lambda tensor: hashlib.sha256(_raw(tensor)).hexdigest(), tensors.values())
        facts = [(name, str(t.dtype), list(t.shape), s) for (name, t), s in zip(tensors.items(), sums, strict=True)]
    text = json.dumps([type(network).__name__, stated, facts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _raw(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def _remove_abandoned(temporary: Path) -> None:
    """Remove what a killed process has left; a fresh one may still be written by a living process."""
    with suppress(OSError):
        if time.time() - temporary.stat().st_mtime > ABANDONED_SECONDS:
            temporary.unlink()
