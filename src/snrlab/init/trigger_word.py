"""A guess at the word that calls what a folder of pictures shows, from its captions.

Such a word means nothing to the model yet, so that it is rare in what its text encoder was made from: the vocabulary
that ships has words in the order of how often they are.
"""

from __future__ import annotations

import gzip
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib import resources

SHARED = 0.8  # part of the captions that have it
COMMON = 16000  # places in the vocabulary that words of everyday language have


def guess_trigger(captions: Sequence[str]) -> str | None:
    """The tag, else the word, that nearly all captions share and that is not a common one; None where there is none.

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
        often = [part for part in parts(captions[0]) if count[part] >= SHARED * len(captions) and is_rare(part)]
        if often:
            return often[0]
    return None


def is_rare(text: str) -> bool:
    """Whether any of its words is none of everyday language; numbers and counts of people are no words.

    >>> is_rare("zork figure"), is_rare("white background"), is_rare("2girls"), is_rare("at the sea")
    (True, False, False, False)
    """
    words = [word for word in _words(text) if not re.fullmatch(r"\d+(girls?|boys?)?", word)]
    return any(len(word) > 2 and _places().get(word.lower(), COMMON) >= COMMON for word in words)


def are_tags(captions: Sequence[str]) -> bool:
    """Whether captions are lists of tags rather than sentences: most have several, and they are short."""
    listed = [split_tags(caption) for caption in captions]
    short = [tags for tags in listed if len(tags) >= 3 and sum(map(len, tags)) / len(tags) <= 25]
    return bool(listed) and len(short) > len(listed) / 2


def split_tags(caption: str) -> list[str]:
    """The parts of a caption between commas."""
    return [tag.strip() for tag in caption.split(",") if tag.strip()]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


@cache
def _places() -> dict[str, int]:
    """Places of whole words in the vocabulary, the most frequent first."""
    packed = (resources.files("snrlab") / "models" / "clip" / "merges.txt.gz").read_bytes()
    merged = (line.replace(" ", "") for line in gzip.decompress(packed).decode("utf-8").splitlines())
    return {word.removesuffix("</w>"): place for place, word in enumerate(merged) if word.endswith("</w>")}
