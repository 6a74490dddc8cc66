"""Mask files and the images that they belong to."""

import pytest

from imaging import captioned, picture
from snrlab import UserError
from snrlab.config.load import parse_section
from snrlab.config.sections.data import DataConfig
from snrlab.data.dataset import find, load_items


@pytest.fixture
def cats(tmp_path):
    return captioned(tmp_path / "cats", a="one", b="two")


def masks(folder, **options):
    items, _ = load_items(DataConfig(folder=str(folder), masked_loss=True, **options), 0)
    return [i.mask for i in items]


def test_beside_the_image(cats):
    for name in "ab":
        picture(cats / f"{name}-masklabel.png")
    assert masks(cats) == [cats / "a-masklabel.png", cats / "b-masklabel.png"]


@pytest.mark.parametrize("name", ["mask", "masks"])
def test_in_a_folder_of_their_own(cats, name):
    for stem in "ab":
        picture(cats / name / f"{stem}.jpg")
    assert masks(cats) == [cats / name / "a.jpg", cats / name / "b.jpg"]


def test_elsewhere(cats, tmp_path):
    for stem in "ab":
        picture(tmp_path / "elsewhere" / f"{stem}.png")
    assert masks(cats, masks=str(tmp_path / "elsewhere")) == [tmp_path / "elsewhere" / f"{s}.png" for s in "ab"]


def test_masks_that_are_not_asked_for_are_mentioned_and_never_trained_on(cats):
    picture(cats / "a-masklabel.png")
    config = DataConfig(folder=str(cats))
    items, _ = load_items(config, 0)
    assert [(i.name, i.mask) for i in items] == [("a.png", None), ("b.png", None)]
    assert "cats has 1 mask; masked_loss = true would use it" in find(config).all_notes


def test_mistakes(cats, tmp_path):
    picture(cats / "a-masklabel.png", (32, 32))
    with pytest.raises(UserError, match=r"1 of 2 images have no mask .* b.png the first"):
        masks(cats)
    picture(cats / "b-masklabel.png", (64, 32))
    with pytest.raises(UserError, match=r"b-masklabel.png is 64x32 and b.png 32x32"):
        masks(cats)
    (cats / "b-masklabel.png").write_bytes(b"none")
    with pytest.raises(UserError, match=r"b-masklabel.png cannot be read"):
        masks(cats)
    with pytest.raises(UserError, match="no such folder"):
        masks(cats, masks=str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"masks is .* means nothing without masked_loss"):
        parse_section({"folder": str(cats), "masks": str(cats)}, DataConfig, "data")
