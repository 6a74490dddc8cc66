"""A guess at the word that calls what a folder of pictures shows, from its captions and its name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

SHARED = 0.8  # part of the captions that have it
PLAIN = {"a", "an", "the", "photo", "picture", "image", "of", "in", "on", "with", "at", "and", "is", "by"}
PLAIN |= {"1girl", "1boy", "solo", "man", "woman", "person", "drawing", "painting", "illustration", "portrait"}


def guess_trigger(captions: Sequence[str]) -> str | None:
    """The tag or first words that nearly all captions share and that are no plain words; None where there is none.

    >>> guess_trigger(["sks dog, grass, outdoors", "sks dog, sofa", "sks dog, close-up, smile"])
    'sks dog'
    >>> guess_trigger(["mira sits on a chair", "mira in the rain", "mira, laughing"])
    'mira'
    >>> guess_trigger(["a photo of a cat", "a photo of a dog"])
    """
    if len(captions) < 2:
        return None
    needed = SHARED * len(captions)
    tags = Counter(tag for caption in captions for tag in dict.fromkeys(split_tags(caption)))
    shared = [tag for tag in split_tags(captions[0]) if tags[tag] >= needed and not _plain(tag)]
    if shared:
        return shared[0]
    starts = Counter(words[0] for caption in captions if (words := re.findall(r"[^\s,]+", caption)))
    word, count = starts.most_common(1)[0] if starts else ("", 0)
    return word if count >= needed and not _plain(word) else None


def are_tags(captions: Sequence[str]) -> bool:
    """Whether captions are lists of tags rather than sentences: most have several, and they are short."""
    listed = [split_tags(caption) for caption in captions]
    short = [tags for tags in listed if len(tags) >= 3 and sum(map(len, tags)) / len(tags) <= 25]
    return bool(listed) and len(short) > len(listed) / 2


def split_tags(caption: str) -> list[str]:
    """The parts of a caption between commas."""
    return [tag.strip() for tag in caption.split(",") if tag.strip()]


def _plain(text: str) -> bool:
    return all(word.lower() in PLAIN for word in text.split())
