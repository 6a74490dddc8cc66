"""Captions to token ids, in as many chunks as the encode rule allows."""

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
    """N captions as token ids for a text encoder.

    Attributes:
        ids: token ids of every chunk, int64 [N * chunks, length], a caption's chunks one after another.
        chunks: number of chunks per caption.
        weights: weights of the joined caption's tokens [N, chunks * (length - 2) + 2]; None where all are 1.
    """

    ids: Tensor
    chunks: int
    weights: Tensor | None = None

    def join(self, states: Tensor) -> Tensor:
        """The encoder's states of every chunk joined into one sequence per caption.

        Only the first start token and the last end token stay: [N * chunks, length, D] to
        [N, chunks * (length - 2) + 2, D].
        """
        if self.chunks > 1:
            chunked = states.unflatten(0, (-1, self.chunks))  # [N, chunks, length, D]
            body = chunked[:, :, 1:-1].flatten(1, 2)
            states = torch.cat([chunked[:, 0, :1], body, chunked[:, -1, -1:]], dim=1)
        return states if self.weights is None else states * self.weights.to(states)[:, :, None]


def tokenize(tokenizer: CLIPTokenizer, captions: Sequence[str], rule: EncodeRule) -> Tokens:
    """Token ids of captions, truncated to the rule's number of tokens.

    Each chunk is laid out like a caption of its own: start token, its tokens, end token, padding.
    """
    length = tokenizer.model_max_length
    if rule.chunks == 1 and not rule.weighted:
        padded = tokenizer(
            list(captions), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        )
        return Tokens(padded.input_ids, 1)
    ids, weights = [], []
    for caption in captions:
        tokens, token_weights = _weighted_tokens(tokenizer, caption, rule)
        ids += _split_into_chunks(tokenizer, tokens, rule.chunks)
        weights.append([1.0, *token_weights, *[1.0] * (rule.chunks * (length - 2) + 1 - len(token_weights))])
    return Tokens(torch.tensor(ids), rule.chunks, torch.tensor(weights) if rule.weighted else None)


def token_count(tokenizer: CLIPTokenizer, caption: str, rule: EncodeRule) -> int:
    """Number of tokens in a caption before truncation, without start and end token."""
    pieces = [text for text, _ in weighted_words(caption)] if rule.weighted else [caption]
    return sum(len(tokenizer(piece, verbose=False).input_ids) - 2 for piece in pieces)


def token_limit(tokenizer: CLIPTokenizer, rule: EncodeRule) -> int:
    """Number of tokens of a caption that are used, without start and end token."""
    return rule.chunks * (tokenizer.model_max_length - 2)


def _weighted_tokens(tokenizer: CLIPTokenizer, caption: str, rule: EncodeRule) -> tuple[list[int], list[float]]:
    """Token ids without start and end token, and their weights, up to the token limit."""
    limit = token_limit(tokenizer, rule)
    ids: list[int] = []
    weights: list[float] = []
    for text, weight in weighted_words(caption) if rule.weighted else [(caption, 1.0)]:
        tokens = tokenizer(text, truncation=True, max_length=limit + 2).input_ids[1:-1]
        ids += tokens
        weights += [weight] * len(tokens)
    return ids[:limit], weights[:limit]


def _split_into_chunks(tokenizer: CLIPTokenizer, ids: list[int], chunks: int) -> list[list[int]]:
    body = tokenizer.model_max_length - 2
    padded = []
    for start in range(0, chunks * body, body):
        chunk = [tokenizer.bos_token_id, *ids[start : start + body], tokenizer.eos_token_id]
        padded.append(chunk + [tokenizer.pad_token_id] * (body + 2 - len(chunk)))
    return padded
