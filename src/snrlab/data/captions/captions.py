"""Captions at a training step: pure functions of options, caption, random numbers, epoch and step.

The order is kohya's: dropout, a line, prefix and suffix, wildcards, tags, secondary separator. Two things differ from
it: the prefix and suffix are added to the line that was drawn, not to the first and last line of the file; and tags
are put together with the separator they were taken apart at, not always with a comma. Weights such as `(word:1.3)` are
not read here; they go through as they are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from snrlab.config.sections.captions import CaptionOptions

_CHOICE = re.compile(r"\{([^{}]+)\}")
_ESCAPES = (("{{", "\ue000"), ("}}", "\ue001"))  # private-use characters stand in for doubled braces


def is_dropped(options: CaptionOptions, rng: np.random.Generator, epoch: int) -> bool:
    """Whether the caption is replaced by the empty one, in an epoch counted from 0.

    >>> options = CaptionOptions(caption_dropout_every_n_epochs=2)
    >>> [is_dropped(options, np.random.default_rng(0), epoch) for epoch in range(4)]
    [False, True, False, True]
    """
    every = options.caption_dropout_every_n_epochs
    all_dropped = every > 0 and (epoch + 1) % every == 0
    return bool(rng.random() < options.caption_dropout) or all_dropped


def caption_at(
    options: CaptionOptions, captions: Sequence[str], rng: np.random.Generator, *, step: int, steps: int
) -> str:
    """The text at a step, counted from 0 in a run of `steps`, of a caption that is not dropped.

    Args:
        options: of its set of images.
        captions: alternatives; without `options.wildcards` the first is taken.
        rng: for this caption at this step only.
        step: counted from 0.
        steps: of the whole run.

    >>> options = CaptionOptions(tag_dropout=1.0, caption_prefix="photo of")
    >>> caption_at(options, ["red apple, fruit, food"], np.random.default_rng(0), step=0, steps=10)
    'photo of red apple'
    """
    text = captions[int(rng.integers(len(captions)))] if options.wildcards and len(captions) > 1 else captions[0]
    text = " ".join(part for part in (options.caption_prefix, text, options.caption_suffix) if part)
    if options.wildcards:
        text = _choose(text, rng)
    if options.moves_tags:
        text = _rearrange_tags(options, text, rng, step, steps)
    if options.secondary_separator is not None:
        text = text.replace(options.secondary_separator, options.caption_separator)
    return text


def _choose(text: str, rng: np.random.Generator) -> str:
    """Each `{a|b}` replaced by one of its parts; `{{` and `}}` are braces."""
    for doubled, stand_in in _ESCAPES:
        text = text.replace(doubled, stand_in)

    def drawn(match: re.Match[str]) -> str:
        parts = match[1].split("|")
        return parts[int(rng.integers(len(parts)))]

    text = _CHOICE.sub(drawn, text)
    return text.replace("\ue000", "{").replace("\ue001", "}")


def _rearrange_tags(options: CaptionOptions, text: str, rng: np.random.Generator, step: int, steps: int) -> str:
    """The caption with its movable tags shuffled, dropped, or held back by the warm-up."""
    kept, tags, last = _split_tags(options, text)
    tags = tags[: _visible_tags(options, len(tags), step, steps)]
    if options.shuffle_tags:
        tags = [tags[i] for i in rng.permutation(len(tags))]
    tags = [tag for tag in tags if rng.random() >= options.tag_dropout]
    separator = options.caption_separator
    glue = separator if separator[-1].isspace() else f"{separator} "
    return glue.join([*kept, *tags, *last])


def _split_tags(options: CaptionOptions, text: str) -> tuple[list[str], list[str], list[str]]:
    """(tags that stay at the start, tags that may move, tags that stay at the end)."""

    def tags(part: str) -> list[str]:
        return [tag for tag in (piece.strip() for piece in part.split(options.caption_separator)) if tag]

    end_of_kept = options.keep_tokens_separator
    if end_of_kept is not None and end_of_kept in text:
        first, middle, *last = text.split(end_of_kept, 2)
        return tags(first), tags(middle), tags(last[0]) if last else []
    every = tags(text)
    return every[: options.keep_tokens], every[options.keep_tokens :], []


def _visible_tags(options: CaptionOptions, count: int, step: int, steps: int) -> int:
    """How many of `count` movable tags the warm-up lets through at a step."""
    until, at_first = options.token_warmup_steps, options.token_warmup_min
    if until < 1:  # a part of the run
        until = math.floor(until * steps)
    if step >= until:
        return count
    return math.floor(step * (count - at_first) / until) + at_first
