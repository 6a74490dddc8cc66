"""What a caption becomes at a training step: pure functions of a rule, the caption, random numbers, epoch and step.

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

from snrlab.data.items import CaptionRule

_CHOICE = re.compile(r"\{([^{}]+)\}")
_ESCAPES = (("{{", "\ue000"), ("}}", "\ue001"))  # private-use characters stand in for doubled braces


def is_dropped(rule: CaptionRule, rng: np.random.Generator, epoch: int) -> bool:
    """Whether the caption is replaced by the empty one, in an epoch counted from 0.

    >>> rule = CaptionRule(dropout_every=2)
    >>> [is_dropped(rule, np.random.default_rng(0), epoch) for epoch in range(4)]
    [False, True, False, True]
    """
    all_dropped = rule.dropout_every > 0 and (epoch + 1) % rule.dropout_every == 0
    return bool(rng.random() < rule.dropout) or all_dropped


def caption_at(rule: CaptionRule, captions: Sequence[str], rng: np.random.Generator, *, step: int, steps: int) -> str:
    """The text at a step, counted from 0 in a run of `steps`, of a caption that is not dropped.

    Args:
        rule: what is done with it.
        captions: alternatives; without `rule.wildcard` the first is taken.
        rng: for this caption at this step only.
        step: counted from 0.
        steps: of the whole run.

    >>> rule = CaptionRule(tag_dropout=1.0, prefix="photo of")
    >>> caption_at(rule, ["red apple, fruit, food"], np.random.default_rng(0), step=0, steps=10)
    'photo of red apple'
    """
    text = captions[int(rng.integers(len(captions)))] if rule.wildcard and len(captions) > 1 else captions[0]
    text = " ".join(part for part in (rule.prefix, text, rule.suffix) if part)
    if rule.wildcard:
        text = _choose(text, rng)
    if rule.moves_tags:
        text = _rearranged(rule, text, rng, step, steps)
    if rule.secondary_separator is not None:
        text = text.replace(rule.secondary_separator, rule.separator)
    return text


def _choose(text: str, rng: np.random.Generator) -> str:
    """Each `{a|b}` replaced by one of its parts; `{{` and `}}` are braces."""
    for doubled, stand_in in _ESCAPES:
        text = text.replace(doubled, stand_in)

    def drawn(found: re.Match[str]) -> str:
        parts = found[1].split("|")
        return parts[int(rng.integers(len(parts)))]

    text = _CHOICE.sub(drawn, text)
    return text.replace("\ue000", "{").replace("\ue001", "}")


def _rearranged(rule: CaptionRule, text: str, rng: np.random.Generator, step: int, steps: int) -> str:
    kept, tags, last = _parted(rule, text)
    tags = tags[: _shown(rule, len(tags), step, steps)]
    if rule.shuffle:
        tags = [tags[i] for i in rng.permutation(len(tags))]
    tags = [tag for tag in tags if rng.random() >= rule.tag_dropout]
    glue = rule.separator if rule.separator[-1].isspace() else f"{rule.separator} "
    return glue.join([*kept, *tags, *last])


def _parted(rule: CaptionRule, text: str) -> tuple[list[str], list[str], list[str]]:
    """(tags that stay at the start, tags that may move, tags that stay at the end)."""

    def tags(part: str) -> list[str]:
        return [tag for tag in (piece.strip() for piece in part.split(rule.separator)) if tag]

    if rule.keep_separator is not None and rule.keep_separator in text:
        first, middle, *last = text.split(rule.keep_separator, 2)
        return tags(first), tags(middle), tags(last[0]) if last else []
    found = tags(text)
    return found[: rule.keep_tokens], found[rule.keep_tokens :], []


def _shown(rule: CaptionRule, count: int, step: int, steps: int) -> int:
    """How many of `count` movable tags the warm-up lets through at a step."""
    until = math.floor(rule.warmup_steps * steps) if rule.warmup_steps < 1 else rule.warmup_steps
    if step >= until:
        return count
    return math.floor(step * (count - rule.warmup_min) / until) + rule.warmup_min
