"""CLIP's tokenizer, built from the merges that ship with the package."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType

from transformers import CLIPTokenizer

_START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH = 77
# bytes that stand for themselves; the others become characters from 256 on
PRINTABLE = (*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1))


def clip_tokenizer(pad: str = END) -> CLIPTokenizer:
    """The tokenizer of Stable Diffusion.

    Args:
        pad: padding of short captions: the end token (SD 1.5, SDXL's first text encoder), or "!" with id 0
            (SD 2, SDXL's second text encoder).

    >>> clip_tokenizer()("a photo of a cat").input_ids
    [49406, 320, 1125, 539, 320, 2368, 49407]
    """
    tokenizer = CLIPTokenizer(
        vocab=dict(vocabulary()), merges=list(merges()), model_max_length=LENGTH, clean_up_tokenization_spaces=False
    )
    return _with_padding(tokenizer, pad)


@cache
def merges() -> tuple[tuple[str, str], ...]:
    """Pairs of tokens that are merged into one, the most frequent first."""
    packed = resources.files("snrlab.models.clip").joinpath("merges.txt.gz").read_bytes()
    lines = gzip.decompress(packed).decode("utf-8").splitlines()
    return tuple((first, second) for first, second in (line.split(" ") for line in lines))


@cache
def vocabulary() -> Mapping[str, int]:
    """Token ids by token: bytes, bytes at the end of a word, merged tokens, start, end."""
    bytes_ = [chr(b) for b in PRINTABLE] + [chr(256 + n) for n in range(256 - len(PRINTABLE))]
    tokens = [*bytes_, *(b + "</w>" for b in bytes_), *(a + b for a, b in merges()), _START, END]
    return MappingProxyType({token: number for number, token in enumerate(tokens)})


def with_plain_padding(tokenizer: CLIPTokenizer) -> CLIPTokenizer:
    """The same tokenizer, reading the padding token in a caption as an ordinary word.

    SD 2 and SDXL pad with id 0, which is "!". For a tokenizer loaded from a folder, the library treats every "!" in a
    caption as padding; the models were trained with it as a word.
    """
    pad = tokenizer.pad_token
    if pad in (_START, END, None):
        return tokenizer
    if tokenizer.model_max_length == LENGTH and tokenizer.get_vocab() == vocabulary():
        return clip_tokenizer(pad)  # quicker than from the tokenizer's own merges
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    return _with_padding(
        CLIPTokenizer(
            vocab=model["vocab"],
            merges=[tuple(merge) for merge in model["merges"]],
            model_max_length=tokenizer.model_max_length,
            clean_up_tokenization_spaces=False,
        ),
        pad,
    )


def _with_padding(tokenizer: CLIPTokenizer, pad: str) -> CLIPTokenizer:
    tokenizer.pad_token = pad  # set afterwards: as an argument it would become a special token
    return tokenizer
