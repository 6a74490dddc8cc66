"""Trigger word of a set of images, guessed from their captions.

A good trigger word means nothing to the base model yet, so it was rare in the training text of its text encoder. The
vocabulary that ships lists words by frequency, which tells rare words from common ones.
"""

from __future__ import annotations

import gzip
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib import resources

SHARED = 0.8  # least part of the captions that must have the word
COMMON = 16000  # rank in the vocabulary below which a word counts as everyday language


def guess_trigger(captions: Sequence[str]) -> str | None:
    """The first rare tag, else the first rare word, that nearly all captions share; None if there is none.

    >>> guess_trigger(["sks dog, grass, outdoors", "sks dog, sofa", "sks dog, close-up, smile"])
    'sks dog'
    >>> guess_trigger(["a photo of zork in the rain", "zork sits on a chair"])
    'zork'
    >>> guess_trigger(["1girl, white background, a cat", "1girl, white background, a dog"])
    """
    if len(captions) < 2:
        return None
    for parts in (split_tags, _words):
        count = Counter(part for caption in captions for part in set(parts(caption)))
        candidates = [part for part in parts(captions[0]) if count[part] >= SHARED * len(captions) and is_rare(part)]
        if candidates:
            return candidates[0]
    return None


def is_rare(text: str) -> bool:
    """Whether a text has a word outside everyday language; numbers and counts of people are not words.

    >>> is_rare("zork figure"), is_rare("white background"), is_rare("2girls"), is_rare("at the sea")
    (True, False, False, False)
    """
    words = [word for word in _words(text) if not re.fullmatch(r"\d+(girls?|boys?)?", word)]
    return any(len(word) > 2 and _frequency_ranks().get(word.lower(), COMMON) >= COMMON for word in words)


def are_tags(captions: Sequence[str]) -> bool:
    """Whether captions are lists of tags, not sentences: most have three or more parts, short on average."""
    tag_lists = [split_tags(caption) for caption in captions]
    short_lists = [tags for tags in tag_lists if len(tags) >= 3 and sum(map(len, tags)) / len(tags) <= 25]
    return bool(tag_lists) and len(short_lists) > len(tag_lists) / 2


def split_tags(caption: str) -> list[str]:
    """The parts of a caption between commas."""
    return [tag.strip() for tag in caption.split(",") if tag.strip()]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


@cache
def _frequency_ranks() -> dict[str, int]:
    """Rank of each whole word in the vocabulary; 0 is the most frequent."""
    packed = (resources.files("snrlab") / "models" / "clip" / "merges.txt.gz").read_bytes()
    merged = (line.replace(" ", "") for line in gzip.decompress(packed).decode("utf-8").splitlines())
    return {word.removesuffix("</w>"): rank for rank, word in enumerate(merged) if word.endswith("</w>")}
