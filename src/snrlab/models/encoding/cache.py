"""Cache folder of latents and text embeddings, keyed by everything that determines them, and shared by runs.

A key is the hash of everything that determines a tensor's values: the bytes of the image, the weights of the network,
the size the image is cropped to. So no stale entry is ever used: an edited image has another key. Tensors are stored in
safetensors shards, which are written atomically, named after their content, and hold a checksum of each tensor; several
processes may read and add at the same time.
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

FORMAT = "1"  # raise it when equal facts give other tensors, as after a change of cropping
PREFIX = "cache-"
SHARD_BYTES = 64 * 2**20
SHARD_SECONDS = 20.0  # the most work that an interruption loses
ABANDONED_SECONDS = 24 * 3600.0


class Cache:
    """Tensors in a folder, by key. Use it as a context manager: on exit, pending tensors are written."""

    def __init__(self, folder: Path) -> None:
        """Open the folder; create it where it is missing.

        Args:
            folder: the folder of the shards; other files in it are left alone.

        Raises:
            UserError: the folder cannot be created or listed.
        """
        self.folder = folder
        self._shards: dict[str, Path] = {}  # by key
        self._checksums: dict[str, int] = {}
        self._open: dict[Path, safe_open] = {}
        self._pending: dict[str, Tensor] = {}
        self._pending_bytes = 0
        self._last_write = time.monotonic()
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
        """Write the pending tensors, also after an interruption."""
        self.write()
        self._open.clear()

    def get(self, key: str) -> Tensor | None:
        """The tensor of a key, on the CPU; None where it is missing or its shard is damaged, which is then removed."""
        if key in self._pending:
            return self._pending[key]
        shard = self._shards.get(key)
        if shard is None:
            return None
        if shard not in self._open:
            file = self._open_verified(shard)
            if file is None:
                self._discard(shard)
                return None
            self._open[shard] = file
        return self._open[shard].get_tensor(key)

    def add(self, tensors: Mapping[str, Tensor]) -> None:
        """Add tensors that were computed in one batch; they are written later, all together.

        So after an interruption whole batches are computed again: the last digits depend on a batch's other rows.
        """
        added = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
        self._pending |= added
        self._pending_bytes += sum(tensor.nbytes for tensor in added.values())
        if self._pending_bytes >= SHARD_BYTES or time.monotonic() - self._last_write >= SHARD_SECONDS:
            self.write()

    def write(self) -> None:
        """Write the pending tensors as one shard.

        Raises:
            UserError: the disk is full, or the folder cannot be written to.
        """
        self._last_write = time.monotonic()
        if not self._pending:
            return
        sums = {key: checksum(tensor) for key, tensor in self._pending.items()}
        content = to_bytes(self._pending, {"snrlab.cache": FORMAT, "sums": json.dumps(sums, sort_keys=True)})
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
        self._checksums |= sums
        self._pending, self._pending_bytes = {}, 0

    def _read_header(self, shard: Path) -> None:
        try:
            with safe_open(str(shard), framework="pt") as file:
                metadata = file.metadata() or {}
                keys = set(file.keys())
            if metadata.get("snrlab.cache") != FORMAT:
                return  # another version's shard, left alone
            sums = json.loads(metadata["sums"])
        except FileNotFoundError:
            return  # another process has just removed it as damaged
        except (SafetensorError, OSError, ValueError, KeyError):
            self._discard(shard)
            return
        for key in keys & sums.keys():
            self._shards[key], self._checksums[key] = shard, int(sums[key])

    def _open_verified(self, shard: Path) -> safe_open | None:
        """The opened shard; None where it is gone or one of its tensors is damaged.

        All tensors are checked before the first is used, so that those lost with the shard can be computed again.
        """
        try:
            file = safe_open(str(shard), framework="pt")
            keys = [key for key, path in self._shards.items() if path == shard]
            intact = all(checksum(file.get_tensor(key)) == self._checksums[key] for key in keys)
        except (SafetensorError, OSError):
            return None
        return file if intact else None

    def _discard(self, shard: Path) -> None:
        keys = [key for key, path in self._shards.items() if path == shard]
        for key in keys:
            del self._shards[key]
        self._open.pop(shard, None)
        logger.warning(f"cache: {shard.name} is damaged and is made again.")
        with suppress(OSError):  # Windows keeps a file that another process has open
            shard.unlink(missing_ok=True)


def checksum(tensor: Tensor) -> int:
    """CRC-32 of a tensor's bytes."""
    return zlib.crc32(_tensor_bytes(tensor))


def cache_key(**facts: object) -> str:
    """Cache key of a tensor: the hash of the facts that determine it.

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

    The weights in memory are hashed, not the file, so that a separate VAE file, another number format or a merged LoRA
    give another fingerprint.
    """
    config = getattr(network, "config", {})
    config = config if isinstance(config, dict) else config.to_dict()
    entries = {name: value for name, value in config.items() if not name.startswith("_") and "version" not in name}
    tensors = dict(sorted(network.state_dict().items()))
    with ThreadPoolExecutor() as pool:
        sums = pool.map(lambda tensor: hashlib.sha256(_tensor_bytes(tensor)).hexdigest(), tensors.values())
        facts = [(name, str(t.dtype), list(t.shape), s) for (name, t), s in zip(tensors.items(), sums, strict=True)]
    text = json.dumps([type(network).__name__, entries, facts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _tensor_bytes(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def _remove_abandoned(temporary: Path) -> None:
    """Remove an old temporary file of a killed process; a recent one may still be in use."""
    with suppress(OSError):
        if time.time() - temporary.stat().st_mtime > ABANDONED_SECONDS:
            temporary.unlink()
