"""Laws of what a caption becomes."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snrlab.config.sections.captions import CaptionOptions
from snrlab.data.captions.captions import caption_at, is_dropped

words = st.text(alphabet="abcxyz ():.1", min_size=1, max_size=8).map(str.strip).filter(bool)
tag_lists = st.lists(words, min_size=1, max_size=8)
seeds = st.integers(0, 2**32 - 1)


def at(rule, *captions, seed=0, step=0, steps=100):
    return caption_at(rule, captions, np.random.default_rng(seed), step=step, steps=steps)


def tags(text, separator=","):
    return [t for t in (piece.strip() for piece in text.split(separator)) if t]


@given(tag_lists, st.integers(0, 9), seeds)
def test_shuffling_keeps_every_tag_and_the_first_ones_in_place(original, keep, seed):
    text = at(CaptionOptions(shuffle_tags=True, keep_tokens=keep), ", ".join(original), seed=seed)
    assert Counter(tags(text)) == Counter(original)
    assert tags(text)[:keep] == original[:keep]


@given(tag_lists, tag_lists, tag_lists, seeds)
def test_keep_separator_keeps_both_ends(first, middle, last, seed):
    rule = CaptionOptions(shuffle_tags=True, tag_dropout=0.5, keep_tokens_separator="|||", keep_tokens=0)
    text = at(rule, "|||".join(", ".join(part) for part in (first, middle, last)), seed=seed)
    assert tags(text)[: len(first)] == first
    assert tags(text)[-len(last) :] == last
    assert not Counter(tags(text)) - Counter(first + middle + last), "nothing is made up"
    assert "|||" not in text


@given(tag_lists, st.sampled_from([",", ";", " / "]), seeds)
def test_dropped_tags_leave_the_others_in_order(original, separator, seed):
    numbered = [f"{i}{tag}" for i, tag in enumerate(original)]
    rule = CaptionOptions(tag_dropout=0.5, keep_tokens=2, caption_separator=separator)
    left = tags(at(rule, separator.join(numbered), seed=seed), separator)
    assert left[:2] == numbered[:2]
    assert left == [tag for tag in numbered if tag in left]


@given(tag_lists, seeds, st.integers(0, 120))
def test_the_same_random_numbers_give_the_same_caption(original, seed, step):
    rule = CaptionOptions(
        wildcards=True, shuffle_tags=True, tag_dropout=0.3, token_warmup_steps=50, caption_prefix="{a|b}"
    )
    one, two = (at(rule, ", ".join(original), "other, line", seed=seed, step=step) for _ in range(2))
    assert one == two


@given(tag_lists)
def test_a_rule_that_says_nothing_changes_nothing(original):
    text = " ,".join(original)
    assert at(CaptionOptions(), text, "never seen") == text
    assert not CaptionOptions().varies


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 1.0])
def test_rates(rate):
    count = 4000
    bound = 4 * (rate * (1 - rate) / count) ** 0.5 + 1e-12  # four standard errors
    dropped = np.mean(
        [is_dropped(CaptionOptions(caption_dropout=rate), np.random.default_rng(i), 0) for i in range(count)]
    )
    assert abs(dropped - rate) <= bound
    rule = CaptionOptions(tag_dropout=rate)
    left = [len(tags(at(rule, "first, " + ", ".join("abcdefgh"), seed=i))) - 1 for i in range(count // 8)]
    assert abs(1 - np.mean(left) / 8 - rate) <= bound


def test_every_order_is_as_likely():
    rule = CaptionOptions(shuffle_tags=True, keep_tokens=0)
    seen = Counter(at(rule, "a, b, c", seed=i) for i in range(3000))
    assert len(seen) == 6
    assert max(abs(n - 500) for n in seen.values()) < 4 * (500 * 5 / 6) ** 0.5


def test_epochs_without_captions_count_from_one_as_kohya_does():
    rule = CaptionOptions(caption_dropout_every_n_epochs=3)
    assert [is_dropped(rule, np.random.default_rng(0), epoch) for epoch in range(6)] == [False, False, True] * 2


def test_wildcards_and_lines():
    rule = CaptionOptions(wildcards=True)
    seen = {at(rule, "a {red|green} cat", "a dog", seed=i) for i in range(60)}
    assert seen == {"a red cat", "a green cat", "a dog"}
    assert at(rule, "a {{real}} brace") == "a {real} brace"
    assert at(CaptionOptions(), "a {red|green} cat") == "a {red|green} cat", "only where the rule says so"


def test_prefix_and_suffix_are_on_every_line():
    rule = CaptionOptions(wildcards=True, caption_prefix="photo of", caption_suffix=", 4k")
    assert {at(rule, "a cat", "a dog", seed=i) for i in range(40)} == {"photo of a cat , 4k", "photo of a dog , 4k"}


@given(seeds)
def test_secondary_separator_keeps_tags_together(seed):
    text = at(CaptionOptions(shuffle_tags=True, keep_tokens=0, secondary_separator=";"), "a; b, c, d, e", seed=seed)
    assert "a, b" in text
    assert ";" not in text


def test_weights_go_through():
    assert set(tags(at(CaptionOptions(shuffle_tags=True), "girl, (red hair:1.3), [hat]"))) == {
        "girl",
        "(red hair:1.3)",
        "[hat]",
    }


@pytest.mark.parametrize("warmup", [10, 0.1])
def test_warm_up_shows_more_tags_as_steps_go_by(warmup):
    rule = CaptionOptions(keep_tokens=1, token_warmup_min=2, token_warmup_steps=warmup)
    counts = [len(tags(at(rule, "first, " + ", ".join("abcdefgh"), step=step))) - 1 for step in range(12)]
    # kohya's floor(step * (8 - 2) / 10) + 2
    assert counts == [2, 2, 3, 3, 4, 5, 5, 6, 6, 7, 8, 8]


def test_order_of_random_numbers_does_not_depend_on_unused_options():
    rule = CaptionOptions(shuffle_tags=True, keep_tokens=0)
    other = rule.model_copy(update={"secondary_separator": ";"})
    for seed in range(20):
        assert at(rule, "a, b, c", seed=seed) == at(other, "a, b, c", seed=seed)
