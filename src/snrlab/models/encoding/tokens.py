"""Captions to token numbers, in as many chunks as the encode rule allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import CLIPTokenizer

from snrlab.models.encode_rule import EncodeRule
from snrlab.models.encoding.weighted_captions import weighted_words


@dataclass(frozen=True, eq=False)
class Tokens:
    """Captions of N pictures as a text encoder reads them.

    Attributes:
        ids: of every chunk, int64 [N * chunks, length], a caption's chunks one after another.
        chunks: how many a caption has.
        weights: of the tokens of the joined caption [N, chunks * (length - 2) + 2], or None where all count alike.
    """

    ids: Tensor
    chunks: int
    weights: Tensor | None = None

    def join(self, states: Tensor) -> Tensor:
        """What the encoder said of every chunk, as one sequence for each caption.

        The first beginning and the last end stay, those between are left out: [N * chunks, length, D] to
        [N, chunks * (length - 2) + 2, D].
        """
        if self.chunks > 1:
            whole = states.unflatten(0, (-1, self.chunks))  # [N, chunks, length, D]
            body = whole[:, :, 1:-1].flatten(1, 2)
            states = torch.cat([whole[:, 0, :1], body, whole[:, -1, -1:]], dim=1)
        return states if self.weights is None else states * self.weights.to(states)[:, :, None]


def tokenize(tokenizer: CLIPTokenizer, captions: Sequence[str], rule: EncodeRule) -> Tokens:
    """Token numbers of captions; what is beyond the rule's tokens is cut off.

    A chunk is tokenised as if it were a caption of its own: beginning, its tokens, end, padding.
    """
    length = tokenizer.model_max_length
    if rule.chunks == 1 and not rule.weighted:
        padded = tokenizer(
            list(captions), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        )
        return Tokens(padded.input_ids, 1)
    ids, weights = [], []
    for caption in captions:
        words, weight = _words(tokenizer, caption, rule)
        ids += _chunked(tokenizer, words, rule.chunks)
        weights.append([1.0, *weight, *[1.0] * (rule.chunks * (length - 2) + 1 - len(weight))])
    return Tokens(torch.tensor(ids), rule.chunks, torch.tensor(weights) if rule.weighted else None)


def token_count(tokenizer: CLIPTokenizer, caption: str, rule: EncodeRule) -> int:
    """Tokens of a caption, without the first and the last, however long it is."""
    pieces = [text for text, _ in weighted_words(caption)] if rule.weighted else [caption]
    return sum(len(tokenizer(piece, verbose=False).input_ids) - 2 for piece in pieces)


def room(tokenizer: CLIPTokenizer, rule: EncodeRule) -> int:
    """Tokens of a caption that are read."""
    return rule.chunks * (tokenizer.model_max_length - 2)


def _words(tokenizer: CLIPTokenizer, caption: str, rule: EncodeRule) -> tuple[list[int], list[float]]:
    """Tokens without beginning and end, and their weights, as many as there is room for."""
    most = room(tokenizer, rule)
    ids: list[int] = []
    weights: list[float] = []
    for text, weight in weighted_words(caption) if rule.weighted else [(caption, 1.0)]:
        found = tokenizer(text, truncation=True, max_length=most + 2).input_ids[1:-1]
        ids += found
        weights += [weight] * len(found)
    return ids[:most], weights[:most]


def _chunked(tokenizer: CLIPTokenizer, ids: list[int], chunks: int) -> list[list[int]]:
    body = tokenizer.model_max_length - 2
    padded = []
    for start in range(0, chunks * body, body):
        part = [tokenizer.bos_token_id, *ids[start : start + body], tokenizer.eos_token_id]
        padded.append(part + [tokenizer.pad_token_id] * (body + 2 - len(part)))
    return padded
