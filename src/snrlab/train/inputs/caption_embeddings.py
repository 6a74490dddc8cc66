"""Embeddings of the captions that are known before the run; each is computed once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor
from transformers import CLIPTokenizer

from snrlab.distributed import SINGLE, Processes
from snrlab.models.components import Components
from snrlab.models.encoding.cache import Cache, cache_key, fingerprint
from snrlab.models.encoding.encode import ENCODE_BATCH, TextEmbeddings, encode_captions
from snrlab.progress import Throughput


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Embeddings of captions; `rows` maps a caption to its row of `text`."""

    rows: dict[str, int]
    text: TextEmbeddings

    def of(self, captions: Sequence[str]) -> TextEmbeddings | None:
        """Embeddings of captions, or None if one of them has none."""
        rows = [self.rows.get(caption) for caption in captions]
        return None if None in rows else self.text[rows]

    @property
    def bytes(self) -> int:
        """Bytes of the tensors."""
        return sum(t.numel() * t.element_size() for t in (self.text.hidden, self.text.pooled) if t is not None)

    def to(self, device: torch.device) -> Embeddings:
        """The same embeddings on a device."""
        return replace(self, text=self.text.to(device))


def embed(
    components: Components, captions: Sequence[str], cache: Cache | None, processes: Processes = SINGLE
) -> Embeddings:
    """Embed captions: each is read from the cache or computed once, by one of the processes."""
    distinct = list(dict.fromkeys(captions))
    keys = _cache_keys(components, distinct) if cache is not None else {}
    embeddings = {caption: text for caption in distinct if (text := _read_cached(cache, keys, caption)) is not None}
    missing_anywhere = set().union(*processes.gather_objects(set(distinct) - set(embeddings)))
    missing = [caption for caption in distinct if caption in missing_anywhere]
    batches = [missing[start : start + ENCODE_BATCH] for start in range(0, len(missing), ENCODE_BATCH)]
    mine = processes.mine(batches)
    throughput = Throughput("captions", sum(map(len, mine)))
    for batch in mine:
        encoded = encode_captions(components, batch)
        embeddings |= {caption: encoded[row] for row, caption in enumerate(batch)}
        if cache is not None:
            cache.add({key: tensor for caption in batch for key, tensor in _by_key(keys[caption], embeddings[caption])})
        throughput.update(len(batch))
    throughput.close()
    encoded_here = {caption: _as_tuple(embeddings[caption]) for batch in mine for caption in batch}
    for others in processes.gather_objects(encoded_here):
        embeddings |= {
            caption: TextEmbeddings(*text) for caption, text in others.items() if caption not in encoded_here
        }
    texts = [embeddings[caption] for caption in distinct]
    pooled = [t.pooled for t in texts if t.pooled is not None]
    text = TextEmbeddings(torch.stack([t.hidden for t in texts]), torch.stack(pooled) if pooled else None)
    return Embeddings({caption: row for row, caption in enumerate(distinct)}, text)


def _as_tuple(text: TextEmbeddings) -> tuple[Tensor, Tensor | None]:
    """A caption's embeddings in a form that can be sent to another process."""
    return text.hidden.cpu().clone(), None if text.pooled is None else text.pooled.cpu().clone()


def _cache_keys(components: Components, captions: Sequence[str]) -> dict[str, dict[str, str]]:
    """Cache keys of each caption's tensors, made of everything that their values depend on."""
    encoders = [e for e in (components.text_encoder, components.text_encoder_2) if e is not None]
    tokenizers = [t for t in (components.tokenizer, components.tokenizer_2) if t is not None]
    made_by = {
        "encoders": [fingerprint(encoder) for encoder in encoders],
        "tokenizers": [_tokenizer_fingerprint(tokenizer) for tokenizer in tokenizers],
        "family": components.family,
        "rule": asdict(components.encode_rule),
        "arithmetic": str(components.arithmetic),
    }
    parts = ("hidden", "pooled") if components.text_encoder_2 is not None else ("hidden",)
    return {c: {part: cache_key(kind="text", part=part, caption=c, **made_by) for part in parts} for c in captions}


def _tokenizer_fingerprint(tokenizer: CLIPTokenizer) -> str:
    """Hash of what decides its tokens; padding and truncation are left out, as they are set by each call."""
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    return cache_key(content=content | {"padding": None, "truncation": None}, length=tokenizer.model_max_length)


def _read_cached(cache: Cache | None, keys: dict[str, dict[str, str]], caption: str) -> TextEmbeddings | None:
    if cache is None:
        return None
    tensors = {part: cache.get(k) for part, k in keys[caption].items()}
    hidden = tensors["hidden"]
    if hidden is None or ("pooled" in tensors and tensors["pooled"] is None):
        return None
    return TextEmbeddings(hidden, tensors.get("pooled"))


def _by_key(keys: dict[str, str], text: TextEmbeddings) -> Iterator[tuple[str, Tensor]]:
    """A caption's tensors by their keys in the cache."""
    tensors: dict[str, Tensor | None] = {"hidden": text.hidden, "pooled": text.pooled}
    for part, k in keys.items():
        tensor = tensors[part]
        assert tensor is not None
        yield k, tensor.clone()
