"""What the options of [data] and [[data.sets]] change in the images and captions that a run is given.

What they change in pixels, latents and batches is in test_data_pixels.py.
"""

import numpy as np
import pytest
import tomlkit
import torch

import tiny
from effects import shows
from imaging import captioned, picture
from snrlab.config import parse_run
from snrlab.data.captions.captions import caption_at, is_dropped
from snrlab.data.dataset import load_items
from snrlab.models.encoding.encode import encode_captions
from snrlab.models.load_for_run import load_for_run


@pytest.fixture
def cats(tmp_path):
    return captioned(tmp_path / "cats", a="one", b="two", c="three")


def items(seed=0, **data):
    config = parse_run({"model": {"random": "small"}, "seed": seed, "data": {"resolution": 64, **data}})
    return load_items(config.data, config.seed)[0]


def names(dataset):
    return [item.name for item in dataset]


@shows("data.folder", "data.sets.folder")
def test_folder(cats, tmp_path):
    dogs = captioned(tmp_path / "dogs", d="dog")
    assert names(items(folder=str(cats))) == ["a.png", "b.png", "c.png"]
    assert names(items(folder=str(dogs))) == names(items(sets=[{"folder": str(dogs)}])) == ["d.png"]


@shows("data.shipped", "data.concepts")
def test_shipped():
    noto = items(shipped="noto")
    assert not np.array_equal(noto[0].pixels, items(shipped="ink")[0].pixels)
    known, held_out = (names(items(shipped="noto", concepts=which)) for which in ("known", "held_out"))
    assert sorted(known + held_out) == sorted(names(noto))
    assert len(held_out) < len(known)


@shows("data.dataset_config")
def test_dataset_config(cats, tmp_path):
    content = {"datasets": [{"subsets": [{"image_dir": str(cats), "num_repeats": 7}]}]}
    (tmp_path / "d.toml").write_text(tomlkit.dumps(content))
    assert [i.repeats for i in items(dataset_config=str(tmp_path / "d.toml"))] == [7] * 3


@shows("data.limit")
def test_limit(cats):
    chosen = {tuple(names(items(folder=str(cats), limit=2, seed=seed))) for seed in range(9)}
    assert chosen == {("a.png", "b.png"), ("a.png", "c.png"), ("b.png", "c.png")}


@shows("data.repeats", "data.sets.repeats")
def test_repeats(cats):
    assert [i.repeats for i in items(folder=str(cats))] == [1] * 3
    assert [i.repeats for i in items(folder=str(cats), repeats=5)] == [5] * 3
    assert [i.repeats for i in items(sets=[{"folder": str(cats), "repeats": 4}], repeats=5)] == [4] * 3


@shows("data.regularisation", "data.prior_loss_weight")
def test_regularisation(cats, tmp_path):
    reg = captioned(tmp_path / "reg", r="r")
    dataset = items(folder=str(cats), regularisation=str(reg), prior_loss_weight=0.25)
    assert [(i.name, i.repeats, i.part.importance, i.part.regularisation) for i in dataset[-2:]] == [
        ("cats/c.png", 1, 1.0, False), ("reg/r.png", 3, 0.25, True),
    ]  # fmt: skip


@shows("data.sets.regularisation", "data.sets.importance", "data.sets.ratio")
def test_sets(cats, tmp_path):
    dogs, reg = captioned(tmp_path / "dogs", d="d"), captioned(tmp_path / "reg", r="r")
    dataset = items(sets=[
        {"folder": str(cats), "ratio": 0.6, "importance": 3.0}, {"folder": str(dogs), "ratio": 0.4},
        {"folder": str(reg), "regularisation": True},
    ])  # fmt: skip
    assert [(i.part.name, i.repeats, i.part.importance) for i in dataset] == [
        *[("cats", 1, 3.0)] * 3, ("dogs", 2, 1.0), ("reg", 5, 1.0),
    ]  # fmt: skip


@pytest.fixture(params=["data", "sets"])
def texts(request, tmp_path):
    """What the caption of one image is over 100 draws, with options of [data] or of its set."""

    def drawn(text, *, step=0, epoch=0, suffix=".txt", **options):
        folder = tmp_path / "one"
        picture(folder / "a.png")
        if text is not None:
            (folder / f"a{suffix}").write_text(text)
        near = {"sets": [{"folder": str(folder), **options}]} if request.param == "sets" else None
        (item,) = items(**(near or {"folder": str(folder), **options}))
        rule, captions = item.part.captions, []
        for draw in range(100):
            rng = np.random.default_rng(draw)
            dropped = is_dropped(rule, rng, epoch)
            captions.append("" if dropped else caption_at(rule, item.captions, rng, step=step, steps=10))
        return captions

    return drawn


@shows("data.caption", "data.sets.caption")
def test_caption(texts):
    assert set(texts(None, caption="instead")) == {"instead"}


@shows("data.caption_extension", "data.sets.caption_extension")
def test_caption_extension(texts):
    assert set(texts("usual")) == {"usual"}
    assert set(texts("about", suffix=".about", caption_extension="about")) == {"about"}


@shows("data.caption_prefix", "data.caption_suffix", "data.sets.caption_prefix", "data.sets.caption_suffix")
def test_prefix_and_suffix(texts):
    assert set(texts("a cat", caption_prefix="photo of", caption_suffix="in rain")) == {"photo of a cat in rain"}


@shows("data.shuffle_tags", "data.sets.shuffle_tags")
def test_shuffle_tags(texts):
    assert set(texts("one, two, three")) == {"one, two, three"}
    assert set(texts("one, two, three", shuffle_tags=True)) == {"one, two, three", "one, three, two"}


@shows("data.tag_dropout", "data.sets.tag_dropout")
def test_tag_dropout(texts):
    captions = texts("one, two", tag_dropout=0.5)
    assert set(captions) == {"one", "one, two"}
    assert 30 < captions.count("one") < 70


@shows("data.keep_tokens", "data.sets.keep_tokens")
def test_keep_tokens(texts):
    assert set(texts("one, two, three", tag_dropout=1.0)) == {"one"}
    assert set(texts("one, two, three", tag_dropout=1.0, keep_tokens=2)) == {"one, two"}
    assert set(texts("one, two, three", tag_dropout=1.0, keep_tokens=0)) == {""}


@shows("data.keep_tokens_separator", "data.sets.keep_tokens_separator")
def test_keep_tokens_separator(texts):
    assert set(texts("one, two ||| three", tag_dropout=1.0, keep_tokens_separator="|||")) == {"one, two"}


@shows("data.caption_separator", "data.sets.caption_separator")
def test_caption_separator(texts):
    assert set(texts("one, two; three", tag_dropout=1.0)) == {"one"}
    assert set(texts("one, two; three", tag_dropout=1.0, caption_separator=";")) == {"one, two"}


@shows("data.secondary_separator", "data.sets.secondary_separator")
def test_secondary_separator(texts):
    captions = set(texts("one;two, three, four", shuffle_tags=True, keep_tokens=0, secondary_separator=";"))
    assert len(captions) == 6
    assert all("one,two" in text for text in captions)


@shows("data.wildcards", "data.sets.wildcards")
def test_wildcards(texts):
    assert set(texts("a {red|green} cat\na dog")) == {"a {red|green} cat a dog"}
    assert set(texts("a {red|green} cat\na dog", wildcards=True)) == {"a red cat", "a green cat", "a dog"}


@shows("data.caption_dropout", "data.sets.caption_dropout")
def test_caption_dropout(texts):
    captions = texts("one", caption_dropout=0.5)
    assert set(captions) == {"one", ""}
    assert 30 < captions.count("") < 70


@shows("data.caption_dropout_every_n_epochs", "data.sets.caption_dropout_every_n_epochs")
def test_caption_dropout_every_n_epochs(texts):
    by_epoch = [set(texts("one", epoch=epoch, caption_dropout_every_n_epochs=2)) for epoch in range(4)]
    assert by_epoch == [{"one"}, {""}, {"one"}, {""}]


@shows("data.token_warmup_steps", "data.sets.token_warmup_steps")
def test_token_warmup_steps(texts):
    by_step = [set(texts("one, two, three", step=step, token_warmup_steps=4)) for step in (0, 2, 4)]
    assert by_step == [{"one, two"}, {"one, two"}, {"one, two, three"}]
    assert set(texts("one, two, three", step=4, token_warmup_steps=0.9)) == {"one, two"}, "of ten steps"


@shows("data.token_warmup_min", "data.sets.token_warmup_min")
def test_token_warmup_min(texts):
    assert set(texts("one, two, three", token_warmup_steps=4, token_warmup_min=0)) == {"one"}
    assert set(texts("one, two, three", token_warmup_steps=4)) == {"one, two"}


@shows("data.weighted_captions")
def test_weighted_captions(tiny_model, cats):
    def encoded(**data):
        config = tiny.run_config(tiny_model, cats, data=data)
        return encode_captions(load_for_run(config), ["a (red:1.5) cat"]).hidden

    plain, weighted = encoded(), encoded(weighted_captions=True)
    assert plain.shape == weighted.shape
    assert not torch.equal(plain, weighted)
