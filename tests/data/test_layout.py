"""Which folders a path means."""

import pytest

from imaging import captioned, picture
from snrlab import UserError
from snrlab.config.sections.data import DataConfig
from snrlab.data.dataset import find, load_items


def items(folder, **options):
    return load_items(DataConfig(folder=str(folder), **options), 0)[0]


def remarks(folder, **options):
    return "\n".join(find(DataConfig(folder=str(folder), **options)).all_notes)


def test_plain_folder(tmp_path):
    captioned(tmp_path, a="one", b="two")
    images = items(tmp_path)
    assert [(i.name, i.captions, i.repeats, i.file) for i in images] == [
        ("a.png", ("one",), 1, tmp_path / "a.png"),
        ("b.png", ("two",), 1, tmp_path / "b.png"),
    ]


def test_parent_of_folders(tmp_path):
    captioned(tmp_path / "cats", a="one")
    captioned(tmp_path / "dogs", a="two")
    (tmp_path / "empty").mkdir()
    assert [(i.name, i.part.name, i.captions) for i in items(tmp_path)] == [
        ("cats/a.png", "cats", ("one",)),
        ("dogs/a.png", "dogs", ("two",)),
    ]
    assert "2 folders: cats, dogs" in remarks(tmp_path)


def test_kohya_folders(tmp_path):
    captioned(tmp_path / "10_my cat", a="one", b=None)
    captioned(tmp_path / "2_dog", a=None)
    assert [(i.name, i.captions[0], i.repeats) for i in items(tmp_path)] == [
        ("10_my cat/a.png", "one", 10),
        ("10_my cat/b.png", "my cat", 10),
        ("2_dog/a.png", "dog", 2),
    ]
    assert "10_my cat is 10 repeats of images whose caption is 'my cat' where they have none" in remarks(tmp_path)
    assert items(tmp_path, caption="stated")[2].captions == ("stated",), "what is written in the run file is nearer"


def test_a_kohya_folder_alone(tmp_path):
    folder = captioned(tmp_path / "3_cat", a=None)
    assert [(i.name, i.captions[0], i.repeats) for i in items(folder)] == [("a.png", "cat", 3)]
    assert "3_cat is read as 3 repeats" in remarks(folder)


def test_other_repeats_than_those_of_the_names_are_refused(tmp_path):
    captioned(tmp_path / "3_cat", a="one")
    with pytest.raises(UserError, match=r"repeats is 2, but the folder's name 3_cat says 3\. Remove repeats"):
        items(tmp_path, repeats=2)
    assert items(tmp_path, repeats=3)[0].repeats == 3, "the same number twice is no contradiction"
    config = DataConfig(sets=[{"folder": str(tmp_path), "repeats": 1}])
    with pytest.raises(UserError, match="repeats is 1, but the folder's name 3_cat says 3"):
        load_items(config, 0)


@pytest.mark.parametrize(("repeats", "notes"), [(10, 0), (1, 1), (4, 1)])
def test_a_set_that_gives_its_repeats_does_not_read_the_name_of_its_folder(tmp_path, repeats, notes):
    """As in a dataset TOML of kohya's, whose program reads no names of folders beside one."""
    folder = captioned(tmp_path / "10_cat", a="one", b="two")
    captioned(folder / "old", c="three")
    config = DataConfig(sets=[{"folder": str(folder), "repeats": repeats}], repeats=7)
    assert [(i.repeats, i.captions) for i in load_items(config, 0)[0]] == [(repeats, ("one",)), (repeats, ("two",))]
    text = "\n".join(find(config).all_notes)
    assert text.count("so the 10 in the folder's name is not used") == notes
    assert "images in folders below are not read: old" in text
    (folder / "b.txt").unlink()
    with pytest.raises(UserError, match=r"1 of 2 images have no caption, b.png .* set data.sets\[0\].caption"):
        load_items(config, 0)


def test_a_set_without_repeats_reads_the_name_of_its_folder(tmp_path):
    folder = captioned(tmp_path / "10_cat", a=None)
    assert [(i.repeats, i.captions) for i in load_items(DataConfig(sets=[{"folder": str(folder)}]), 0)[0]] == [
        (10, ("cat",))
    ]


def test_folders_below_images_are_named(tmp_path):
    captioned(tmp_path, a="one")
    captioned(tmp_path / "old", b="two")
    assert len(items(tmp_path)) == 1
    assert "images in folders below are not read: old" in remarks(tmp_path)


def test_hidden_and_mask_folders_are_no_folders_of_images(tmp_path):
    captioned(tmp_path / "cats", a="one")
    picture(tmp_path / "mask" / "a.png")
    picture(tmp_path / ".thumbnails" / "a.png")
    assert [i.name for i in items(tmp_path)] == ["a.png"]


def test_folders_of_the_same_name_are_told_apart(tmp_path):
    for place in ("one", "two"):
        captioned(tmp_path / place / "img", a=place)
    config = DataConfig(sets=[{"folder": str(tmp_path / place / "img")} for place in ("one", "two")])
    assert [i.name for i in load_items(config, 0)[0]] == ["one/img/a.png", "two/img/a.png"]


def test_odd_names(tmp_path):
    folder = tmp_path / "with space [1] é"
    captioned(folder, **{"ü x": "one", "[b]": "two"})
    assert [i.captions[0] for i in items(folder)] == ["two", "one"]


def test_images_two_levels_down_are_named(tmp_path):
    captioned(tmp_path / "cats", a="one")
    captioned(tmp_path / "cats" / "old", b="two")
    captioned(tmp_path / "raw" / "scans", c="three")
    assert [i.name for i in items(tmp_path)] == ["a.png"]
    assert "images in cats/old are not read" in remarks(tmp_path).replace("\\", "/")
    assert "images in raw/scans are not read" in remarks(tmp_path).replace("\\", "/")


@pytest.mark.parametrize("beside", ["sample", "."])
def test_a_project_folder_of_kohyas_program_is_not_mistaken(tmp_path, beside):
    captioned(tmp_path / "img" / "10_cat", a="one")
    captioned(tmp_path / beside, shown="a sample")
    with pytest.raises(UserError, match=r"further down, the kohya folder img.10_cat; give .*img, or move"):
        items(tmp_path)
