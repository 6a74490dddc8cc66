"""metadata.jsonl of Hugging Face image folders, and kohya's fine-tuning metadata."""

import json

import pytest

from imaging import captioned, picture
from snrlab import UserError
from snrlab.config.sections.data import DataConfig
from snrlab.data.caption_metadata import read_fine_tuning
from snrlab.data.dataset import find, load_items


def lines(folder, *entries):
    (folder / "metadata.jsonl").write_text("\n".join(json.dumps(e) for e in entries) + "\n", encoding="utf-8")
    return folder


def items(folder, **options):
    return load_items(DataConfig(folder=str(folder), **options), 0)[0]


def test_huggingface_image_folder(tmp_path):
    captioned(tmp_path, b=None)
    picture(tmp_path / "train" / "a.png", (16, 24))
    lines(tmp_path, {"file_name": "b.png", "text": "two"}, {"file_name": "train/a.png", "text": " one  caption "})
    images = items(tmp_path)
    assert [(i.name, i.captions, i.size) for i in images] == [
        ("b.png", ("two",), (32, 32)), ("a.png", ("one caption",), (16, 24)),
    ]  # fmt: skip
    assert "2 captions in metadata.jsonl" in "".join(find(DataConfig(folder=str(tmp_path))).all_groups[0].summaries)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{"file_name": "a.png", "text": "x"}, {"file_name": "gone.png", "text": "x"}],
         "names files that are not there, 1 of 2, gone.png the first"),
        ([{"file_name": "a.png", "txt": "x"}], 'line 1: there is no text "text"; it has file_name, txt'),
        ([{"file_name": "a.png", "text": " "}], "line 1: the text of a.png is empty"),
        ([{"file_name": "a.png", "text": "x"}] * 2, "line 2: a.png is named twice"),
        ([["a.png", "x"]], "line 1: this is not an object"),
        ([], "1 of 1 images have no caption, a.png the first"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)  # fmt: skip
def test_mistakes(tmp_path, entries, message):
    captioned(tmp_path, a=None)
    lines(tmp_path, *entries)
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        items(tmp_path)


def test_not_json(tmp_path):
    captioned(tmp_path, a=None)
    (tmp_path / "metadata.jsonl").write_text("{'file_name': 'a.png'}\n")
    with pytest.raises(UserError, match=r"metadata.jsonl, line 1: not valid JSON"):
        items(tmp_path)


def test_two_sources_of_captions(tmp_path):
    captioned(tmp_path, a="beside")
    lines(tmp_path, {"file_name": "a.png", "text": "listed"})
    with pytest.raises(UserError, match="1 image with a caption file too, a the first"):
        items(tmp_path)


def test_a_broken_image_is_named(tmp_path):
    captioned(tmp_path, a=None)
    (tmp_path / "a.png").write_bytes(b"no picture")
    lines(tmp_path, {"file_name": "a.png", "text": "x"})
    with pytest.raises(UserError, match=r"a.png cannot be read"):
        items(tmp_path)


def fine_tuning(folder, data, **options):
    file = folder / "meta.json"
    file.write_text(json.dumps(data))
    return {e.file.name: e.captions for e in read_fine_tuning(file, folder, ",", **{"wildcard": False, **options})}


def test_kohya_metadata_puts_tags_behind_the_caption(tmp_path):
    captioned(tmp_path, a=None, b=None, c=None)
    data = {
        "a": {"caption": "one", "tags": "x, y"},
        "b.png": {"tags": "z"},
        str(tmp_path / "c.png"): {"caption": "three"},
    }
    assert fine_tuning(tmp_path, data) == {"a.png": ("one,x, y",), "b.png": ("z",), "c.png": ("three",)}


def test_kohya_metadata_with_wildcards_tags_each_line(tmp_path):
    captioned(tmp_path, a=None)
    data = {"a": {"caption": "one\n\ntwo", "tags": "x\ny"}}
    assert fine_tuning(tmp_path, data, wildcard=True) == {"a.png": ("one,x,y", "two,x,y")}
    assert fine_tuning(tmp_path, data) == {"a.png": ("one,x,y",)}


def test_kohya_metadata_mistakes(tmp_path):
    captioned(tmp_path, a=None)
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.png").read_bytes())
    for data, message in (
        ({"a": {"caption": "x"}}, "may be a.jpg or a.png"),
        ({"a.png": {"caption": " "}}, "a.png has neither caption nor tags"),
        ({}, "it names no image"),
        (["a.png"], 'write {"IMAGE"'),
    ):
        with pytest.raises(UserError, match=message):
            fine_tuning(tmp_path, data)
    (tmp_path / "relative.json").write_text('{"a.png": {"caption": "x"}}')
    with pytest.raises(UserError, match="relative: state image_dir"):
        read_fine_tuning(tmp_path / "relative.json", None, ",", wildcard=False)
