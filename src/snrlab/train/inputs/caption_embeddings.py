"""Captions that are known before the run, as embeddings that are made once."""

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
    """Captions and what text encoders make of them: `rows` says which row of `text` a caption has."""

    rows: dict[str, int]
    text: TextEmbeddings

    def of(self, captions: Sequence[str]) -> TextEmbeddings | None:
        """Their embeddings, or None where one of them is not known."""
        rows = [self.rows.get(caption) for caption in captions]
        return None if None in rows else self.text[rows]

    @property
    def bytes(self) -> int:
        """Memory of the tensors."""
        return sum(t.numel() * t.element_size() for t in (self.text.hidden, self.text.pooled) if t is not None)

    def to(self, device: torch.device) -> Embeddings:
        """The same with its tensors on a device."""
        return replace(self, text=self.text.to(device))


def embed(
    components: Components, captions: Sequence[str], cache: Cache | None, processes: Processes = SINGLE
) -> Embeddings:
    """Embeddings of captions, each made once and by one of the processes, from the cache where they are in it."""
    distinct = list(dict.fromkeys(captions))
    keys = _keys(components, distinct) if cache is not None else {}
    found = {caption: text for caption in distinct if (text := _from_cache(cache, keys, caption)) is not None}
    lacking = set().union(*processes.everyones(set(distinct) - set(found)))
    missing = [caption for caption in distinct if caption in lacking]
    batches = [missing[start : start + ENCODE_BATCH] for start in range(0, len(missing), ENCODE_BATCH)]
    mine = processes.mine(batches)
    throughput = Throughput("captions", sum(map(len, mine)))
    for some in mine:
        made = encode_captions(components, some)
        found |= {caption: made[row] for row, caption in enumerate(some)}
        if cache is not None:
            cache.add({key: tensor for caption in some for key, tensor in _by_key(keys[caption], found[caption])})
        throughput.update(len(some))
    throughput.close()
    own = {caption: _plain(found[caption]) for some in mine for caption in some}
    for others in processes.everyones(own):
        found |= {caption: TextEmbeddings(*text) for caption, text in others.items() if caption not in own}
    texts = [found[caption] for caption in distinct]
    pooled = [t.pooled for t in texts if t.pooled is not None]
    text = TextEmbeddings(torch.stack([t.hidden for t in texts]), torch.stack(pooled) if pooled else None)
    return Embeddings({caption: row for row, caption in enumerate(distinct)}, text)


def _plain(text: TextEmbeddings) -> tuple[Tensor, Tensor | None]:
    """A caption's embeddings as another process can be given them."""
    return text.hidden.cpu().clone(), None if text.pooled is None else text.pooled.cpu().clone()


def _keys(components: Components, captions: Sequence[str]) -> dict[str, dict[str, str]]:
    """The keys of each caption's tensors, by all that decides their values."""
    encoders = [e for e in (components.text_encoder, components.text_encoder_2) if e is not None]
    tokenizers = [t for t in (components.tokenizer, components.tokenizer_2) if t is not None]
    made_by = {
        "encoders": [fingerprint(encoder) for encoder in encoders],
        "tokenizers": [_vocabulary(tokenizer) for tokenizer in tokenizers],
        "family": components.family,
        "rule": asdict(components.encode_rule),
        "arithmetic": str(components.arithmetic),
    }
    both = ("hidden", "pooled") if components.text_encoder_2 is not None else ("hidden",)
    return {c: {part: cache_key(kind="text", part=part, caption=c, **made_by) for part in both} for c in captions}


def _vocabulary(tokenizer: CLIPTokenizer) -> str:
    """What decides its tokens; padding and truncation are of the last call, not of the tokenizer."""
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    return cache_key(content=content | {"padding": None, "truncation": None}, length=tokenizer.model_max_length)


def _from_cache(cache: Cache | None, keys: dict[str, dict[str, str]], caption: str) -> TextEmbeddings | None:
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
