"""[data]: nothing that is stated is ignored, and the resolved file says the same again."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snrlab import UserError
from snrlab.config import dump, parse_run, read_run
from snrlab.config.sections.data import ImageOptions, ImageSet


def run(**data):
    return {"model": {"random": "small"}, "data": data}


FOLDER = {"folder": "f"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "none of them is given"),
        ({"folder": "f", "dataset_config": "d.toml"}, "folder and dataset_config"),
        ({**FOLDER, "resolution": 500}, "data.resolution: it is 500: a side is a multiple of 8 from 16 to 4096"),
        ({**FOLDER, "resolution": [512]}, "give one side for a square, or [width, height]"),
        ({**FOLDER, "resolution": "512,512"}, "a side is a multiple of 8"),
        ({**FOLDER, "resolution": True}, "a side is a multiple of 8"),
        ({**FOLDER, "bucket_min": 256}, "bucket_min is 256, which means nothing without buckets = true"),
        ({**FOLDER, "bucket_upscale": False}, "bucket_upscale is False"),
        ({**FOLDER, "buckets": True, "bucket_max": 256}, "bucket_max is 256, below the longer side of resolution, 512"),
        ({**FOLDER, "buckets": True, "bucket_min": 768}, "bucket_min is 768, above the shorter side"),
        ({**FOLDER, "buckets": True, "resolution": 32}, "bucket_step is 64, above the shorter side of resolution, 32"),
        ({**FOLDER, "keep_tokens": 2}, "keep_tokens is 2, which means nothing without shuffle_tags, tag_dropout or"),
        ({**FOLDER, "token_warmup_min": 3}, "means nothing without token_warmup_steps"),
        ({**FOLDER, "caption_separator": ";"}, "caption_separator is ';'"),
        ({**FOLDER, "masked_loss": True, "alpha_mask": True}, "choose where the mask comes from"),
        ({**FOLDER, "prior_loss_weight": 0.5}, "there are no regularisation images"),
        ({**FOLDER, "cache_folder": "c"}, "cache_folder is set, but cache is false"),
        ({**FOLDER, "concepts": "known"}, "concepts is set, but it means nothing with folder"),
        ({"shipped": "noto", "caption": "x"}, "caption is set, but it means nothing with shipped"),
        (
            {"dataset_config": "d.toml", "repeats": 1},
            "repeats is set, but the dataset TOML decides it: state num_repeats",
        ),
        (
            {"sets": [{"folder": "f", "repeat": 2}]},
            "data.sets[0].repeat: 'repeat' is not known. Did you mean 'repeats'?",
        ),
        ({"sets": [{"repeats": 2}]}, "data.sets[0].folder is missing"),
        ({"sets": [{"folder": "f", "bucket_min": 256}]}, "bucket_min is 256, which means nothing"),
        ({"sets": [{"folder": "f", "ratio": 0.5}, {"folder": "g", "ratio": 0.6}]}, "the ratios sum to 1.1"),
        ({"sets": [{"folder": "f", "ratio": 0.5}, {"folder": "g"}]}, "g has no ratio but others have"),
        ({"sets": [{"folder": "f"}, {"folder": "g", "ratio": 0.5, "regularisation": True}]}, "g has a ratio and"),
        ({"sets": [{"folder": "f", "regularisation": True}]}, "there is nothing to learn from"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_mistakes(data, message):
    with pytest.raises(UserError) as mistake:
        parse_run(run(**data))
    assert message in str(mistake.value)


def test_the_nearer_wins():
    config = parse_run(
        run(flip=True, resolution=256, sets=[{"folder": "f"}, {"folder": "g", "flip": False, "resolution": [256, 512]}])
    )
    first, second = (s.options(config.data) for s in config.data.sets)
    assert (first.flip, first.size) == (True, (256, 256))
    assert (second.flip, second.size) == (False, (256, 512))


def test_a_set_may_say_all_that_data_may():
    assert set(ImageOptions.model_fields) < set(ImageSet.model_fields)
    for name, field in ImageOptions.model_fields.items():
        assert ImageSet.model_fields[name].description == field.description
        assert ImageSet.model_fields[name].default is None


def test_bounds_hold_in_sets_too():
    for value in ({"caption_dropout": 1.5}, {"repeats": 0}, {"bucket_step": 4}, {"resolution": 20}):
        with pytest.raises(UserError):
            parse_run(run(sets=[{"folder": "f", **value}]))


@given(
    st.fixed_dictionaries(
        {"folder": st.sampled_from(["f", "g"])},
        optional={
            "flip": st.booleans(), "repeats": st.integers(1, 9), "resolution": st.sampled_from([64, [64, 128]]),
            "caption": st.text("ab\"'\n\\", max_size=5), "caption_prefix": st.text("ab", max_size=3),
            "shuffle_tags": st.booleans(), "importance": st.floats(0, 2),
        },
    ).flatmap(lambda one: st.lists(st.just(one), min_size=1, max_size=3))
)  # fmt: skip
def test_sets_survive_the_resolved_file(sets):
    config = parse_run(run(sets=sets, caption_dropout=0.1))
    text = dump(config)
    assert parse_run(tomllib.loads(text)) == config
    assert "[[data.sets]]" in text


@pytest.mark.parametrize(
    "data",
    [
        {"folder": "f", "resolution": [768, 512], "buckets": True, "regularisation": "r", "prior_loss_weight": 0.5},
        {"dataset_config": "d.toml", "resolution": 1024, "prior_loss_weight": 0.5},
        {"shipped": "noto", "resolution": 64, "concepts": "known"},
    ],
)
def test_each_source_survives_the_resolved_file(data):
    config = parse_run(run(**data))
    assert parse_run(tomllib.loads(dump(config))) == config


def test_paths_are_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.toml").write_text(
        "[model]\nrandom = 'small'\n[data]\nregularisation = 'r'\nmasks = 'm'\nmasked_loss = true\ncache = true\n"
        "cache_folder = 'c'\n[[data.sets]]\nfolder = 'f'\nmasks = 'n'\n"
    )
    data = read_run(tmp_path / "run.toml").data
    paths = (data.regularisation, data.masks, data.cache_folder, data.sets[0].folder, data.sets[0].masks)
    assert paths == tuple(str(tmp_path / name) for name in "rmcfn")


def test_older_resolved_files_still_read():
    """They state concepts beside a folder, with the value that means nothing."""
    assert parse_run(run(folder="f", concepts="all", flip=False)).data.concepts == "all"


def test_side_of_sample_pictures():
    assert parse_run(run(folder="f", resolution=[768, 512])).data.side == 624  # sqrt(768 x 512) = 627
    assert parse_run(run(folder="f", resolution=768)).data.side == 768
