"""Kohya dataset TOMLs, used as they are."""

import json

import pytest
import tomlkit

from imaging import captioned, picture
from snrlab import UserError
from snrlab.config.load import parse_section
from snrlab.config.sections.data import DataConfig
from snrlab.data.dataset import find, load_items
from snrlab.data.items import BucketRule


def write(folder, *datasets, **general):
    path = folder / "dataset.toml"
    path.write_text(tomlkit.dumps({"general": general, "datasets": list(datasets)}))
    return path


def load(path, **data):
    return load_items(DataConfig(dataset_config=str(path), **data), 0)[0]


@pytest.fixture
def cats(tmp_path):
    return captioned(tmp_path / "cats", a="one, two", b=None)


def test_everything_stated(tmp_path, cats):
    subset = {
        "image_dir": str(cats), "num_repeats": 3, "class_tokens": "cat", "shuffle_caption": True,
        "caption_separator": ";", "keep_tokens": 2, "keep_tokens_separator": "|||", "secondary_separator": "&&",
        "enable_wildcard": True, "caption_prefix": "before", "caption_suffix": "after", "caption_dropout_rate": 0.1,
        "caption_dropout_every_n_epochs": 4, "caption_tag_dropout_rate": 0.2, "token_warmup_min": 2,
        "token_warmup_step": 0.5, "flip_aug": True, "random_crop": True, "alpha_mask": True,
    }  # fmt: skip
    dataset = {
        "resolution": [768, 512], "enable_bucket": True, "min_bucket_reso": 320, "max_bucket_reso": 1536,
        "bucket_reso_steps": 32, "bucket_no_upscale": True, "batch_size": 2, "subsets": [subset],
    }  # fmt: skip
    for item in cats.iterdir():
        if item.suffix == ".png":
            picture(item, (640, 480))
    items = load(write(tmp_path, dataset), limit=5)
    assert [(i.captions[0], i.repeats) for i in items] == [("one, two", 3), ("cat", 3)]
    part = items[0].part
    assert (part.resolution, part.flip, part.random_crop, part.alpha_mask) == ((768, 512), True, True, True)
    assert part.buckets == BucketRule(320, 1536, 32, False)
    rule = part.captions
    assert (rule.shuffle_tags, rule.caption_separator, rule.keep_tokens, rule.keep_tokens_separator) == (
        True,
        ";",
        2,
        "|||",
    )
    assert (rule.secondary_separator, rule.wildcards, rule.caption_prefix, rule.caption_suffix) == (
        "&&",
        True,
        "before",
        "after",
    )
    assert (rule.caption_dropout, rule.caption_dropout_every_n_epochs, rule.tag_dropout) == (0.1, 4, 0.2)
    assert (rule.token_warmup_min, rule.token_warmup_steps) == (2, 0.5)


def test_defaults_are_kohyas(tmp_path, cats):
    subset = {"image_dir": str(cats), "class_tokens": "cat"}
    part = load(write(tmp_path, {"enable_bucket": True, "subsets": [subset]}))[0].part
    assert part.buckets == BucketRule(256, 1024, 64, True)
    assert part.captions.keep_tokens == 0, "not ours, which is 1"
    assert part.resolution == (512, 512)
    assert load(write(tmp_path, {"subsets": [subset]}), resolution=1024)[0].part.resolution == (1024, 1024)


@pytest.mark.parametrize(
    ("general", "dataset", "subset", "expected"),
    [
        (2, None, None, 2),
        (2, 3, None, 3),
        (2, 3, 4, 4),
        (None, 3, 4, 4),
        (2, None, 4, 4),
    ],
)
def test_the_nearer_level_wins(tmp_path, cats, general, dataset, subset, expected):
    def level(n):
        return {} if n is None else {"num_repeats": n, "keep_tokens": n}

    subset_table = {"image_dir": str(cats), "class_tokens": "cat", **level(subset)}
    (item, _) = load(write(tmp_path, {**level(dataset), "subsets": [subset_table]}, **level(general)))
    assert (item.repeats, item.part.captions.keep_tokens) == (expected, expected)


def test_a_nearer_no_is_heard(tmp_path, cats):
    subset = {"image_dir": str(cats), "class_tokens": "cat", "flip_aug": False}
    assert not load(write(tmp_path, {"subsets": [subset]}, flip_aug=True))[0].part.flip


def test_regularisation_is_balanced_within_its_dataset(tmp_path, cats):
    reg = captioned(tmp_path / "reg", r="r", s="s")
    first = {"subsets": [{"image_dir": str(cats), "class_tokens": "c", "num_repeats": 5},
                         {"image_dir": str(reg), "is_reg": True}]}  # fmt: skip
    second = {"subsets": [{"image_dir": str(captioned(tmp_path / "dogs", d="d")), "num_repeats": 100}]}
    items = load(write(tmp_path, first, second), prior_loss_weight=0.5)
    assert [(i.name, i.repeats, i.part.importance) for i in items] == [
        ("cats/a.png", 5, 1.0), ("cats/b.png", 5, 1.0), ("reg/r.png", 5, 0.5), ("reg/s.png", 5, 0.5),
        ("dogs/d.png", 100, 1.0),
    ]  # fmt: skip


def test_masks_of_conditioning_data_dir(tmp_path, cats):
    for name in "ab":
        picture(tmp_path / "masks" / f"{name}.png")
    subset = {"image_dir": str(cats), "class_tokens": "c", "conditioning_data_dir": str(tmp_path / "masks")}
    assert [i.mask for i in load(write(tmp_path, {"subsets": [subset]}))] == [
        tmp_path / "masks" / f"{name}.png" for name in "ab"
    ]


def test_fine_tuning_metadata(tmp_path, cats):
    (tmp_path / "meta.json").write_text(json.dumps({"a": {"caption": "one", "tags": "x"}, "b": {"tags": "y"}}))
    subset = {"metadata_file": str(tmp_path / "meta.json"), "image_dir": str(cats), "num_repeats": 2}
    assert [(i.name, i.captions[0], i.repeats) for i in load(write(tmp_path, {"subsets": [subset]}))] == [
        ("a.png", "one,x", 2), ("b.png", "y", 2),
    ]  # fmt: skip


def test_paths_from_the_current_folder_or_beside_the_file(tmp_path, cats, monkeypatch):
    path = write(tmp_path, {"subsets": [{"image_dir": "cats", "class_tokens": "c"}]})
    monkeypatch.chdir(tmp_path)
    assert len(load(path)) == 2
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(load(path)) == 2
    dataset = find(DataConfig(dataset_config=str(path)))
    assert "image_dir = 'cats' is taken from the folder of dataset.toml" in "".join(dataset.all_notes)


def test_kohya_reads_the_first_line(tmp_path, cats):
    (cats / "a.txt").write_text("first\nsecond\n")
    subset = {"image_dir": str(cats), "class_tokens": "c"}
    assert load(write(tmp_path, {"subsets": [subset]}))[0].captions == ("first",)
    assert load(write(tmp_path, {"subsets": [subset]}, enable_wildcard=True))[0].captions == ("first", "second")


def test_json_is_read_too(tmp_path, cats):
    (tmp_path / "d.json").write_text(
        json.dumps({"datasets": [{"subsets": [{"image_dir": str(cats), "class_tokens": "c"}]}]})
    )
    assert len(load(tmp_path / "d.json")) == 2


def test_its_batch_size_may_not_contradict_the_run(tmp_path, cats):
    path = write(tmp_path, {"batch_size": 4, "subsets": [{"image_dir": str(cats), "class_tokens": "c"}]})
    config = DataConfig(dataset_config=str(path))
    assert len(load_items(config, 0, batch_size=4)[0]) == 2
    with pytest.raises(UserError, match=r"states batch_size = 4, but train.batch_size is 1"):
        load_items(config, 0, batch_size=1)


SUBSET = {"class_tokens": "c"}
MISTAKES = {
    "unknown key": ({"subsets": [{"image_dir": "cats", "num_repeat": 3}]}, "Did you mean 'num_repeats'"),
    "unknown key in general": ({"general": {"enable_buckets": True}}, "Did you mean 'enable_bucket'"),
    "a path at the wrong level": ({"image_dir": "cats", "subsets": [SUBSET]}, "datasets[0].image_dir"),
    "text for a number": ({"subsets": [{"image_dir": "cats", "num_repeats": "3"}]}, "num_repeats is '3'"),
    "zero repeats": ({"subsets": [{"image_dir": "cats", "num_repeats": 0}]}, "num_repeats is 0"),
    "no subsets": ({"subsets": []}, "has no [[datasets.subsets]]"),
    "no folder": ({"subsets": [SUBSET]}, "has neither image_dir nor metadata_file"),
    "wrong folder": ({"subsets": [{**SUBSET, "image_dir": "cat"}]}, "image_dir = 'cat': there is no such folder"),
    "two kinds": (
        {"subsets": [{**SUBSET, "image_dir": "cats"}, {"metadata_file": "meta.json"}]},
        "mixes subsets with metadata_file (fine-tuning) and without",
    ),
    "twice": ({"subsets": [{**SUBSET, "image_dir": "cats"}] * 2}, "twice"),
    "colour augmentation": ({"subsets": [{**SUBSET, "image_dir": "cats", "color_aug": True}]}, "not offered here"),
    "validation split": ({"validation_split": 0.1, "subsets": [SUBSET]}, "set validation.images in the run file"),
    "an option of the command line": ({"prior_loss_weight": 0.5, "subsets": [SUBSET]}, "set data.prior_loss_weight"),
    "fine-tuning with class tokens": (
        {"subsets": [{"metadata_file": "meta.json", "class_tokens": "c"}]}, "class_tokens means nothing beside",
    ),
    "buckets above the resolution": (
        {"enable_bucket": True, "min_bucket_reso": 768, "subsets": [{**SUBSET, "image_dir": "cats"}]},
        "min_bucket_reso is 768, above the shorter side of resolution, 512",
    ),
    "resolution as text": ({"resolution": "512,512", "subsets": [SUBSET]}, "a side is a multiple of 8"),
    "masked twice": (
        {"subsets": [{**SUBSET, "image_dir": "cats", "conditioning_data_dir": "cats", "alpha_mask": True}]}, "keep one",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name, tmp_path, cats, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "meta.json").write_text("{}")
    dataset, message = MISTAKES[name]
    general = dataset.pop("general", {}) if "general" in dataset else {}
    dataset.setdefault("subsets", [{**SUBSET, "image_dir": "cats"}])
    with pytest.raises(UserError) as mistake:
        load(write(tmp_path, dataset, **general))
    assert message in str(mistake.value)
    assert "dataset.toml" in str(mistake.value)


def test_no_datasets_and_no_file(tmp_path):
    (tmp_path / "dataset.toml").write_text("[general]\nresolution = 512\n")
    with pytest.raises(UserError, match="datasets is missing"):
        load(tmp_path / "dataset.toml")
    with pytest.raises(UserError, match="cannot be read"):
        load(tmp_path / "other.toml")
    (tmp_path / "windows.toml").write_text('[[datasets]]\n[[datasets.subsets]]\nimage_dir = "C:\\images\\new"\n')
    with pytest.raises(UserError, match="write a Windows path in 'single quotes'"):
        load(tmp_path / "windows.toml")


def test_options_that_the_file_decides_are_refused_beside_it():
    with pytest.raises(UserError, match="flip is set, but the dataset TOML decides it: state flip_aug there"):
        parse_section({"dataset_config": "d.toml", "flip": True}, DataConfig, "data")
