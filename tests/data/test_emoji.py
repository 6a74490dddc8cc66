from collections import Counter
from importlib import resources

import numpy as np
import pytest

from snrlab import UserError
from snrlab.data import emoji
from snrlab.data.emoji.computed_styles import COMPUTED_STYLES


def test_concepts():
    concepts = emoji.concepts("noto")
    assert Counter(c.group for c in concepts) == {
        "people": 361, "objects": 261, "places": 218, "smileys": 166, "animals": 157, "food": 128, "activities": 85,
    }  # fmt: skip
    assert len({c.code for c in concepts}) == 1376
    assert all(c.caption.startswith(c.name) and c.name for c in concepts)
    assert 40 < sum(c.held_out for c in concepts) < 100


@pytest.mark.parametrize("style", emoji.styles())
def test_pictures(style):
    pictures = emoji.images(style)
    assert pictures.shape == (len(emoji.concepts(style)), 64, 64, 3)
    assert pictures.dtype == np.uint8
    assert len(pictures) > 1300
    corners = pictures[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners > 250).all(-1).mean() > 0.9, "on white"
    assert pictures.std(axis=(1, 2, 3)).min() > 3, "no empty tile"


def test_styles_show_the_same_things_differently():
    noto, fluent = (emoji.images(s).astype(float) for s in ("noto", "fluent_3d"))
    assert [c.code for c in emoji.concepts("noto")] == [c.code for c in emoji.concepts("fluent_3d")]
    same_concept = np.abs(noto - fluent).mean(axis=(1, 2, 3))
    other = np.abs(noto - np.roll(fluent, 1, axis=0)).mean(axis=(1, 2, 3))
    assert 10 < same_concept.mean() < 0.8 * other.mean()


@pytest.mark.parametrize("style", COMPUTED_STYLES)
def test_computed_styles_show_every_concept_of_noto_in_its_place(style):
    assert emoji.concepts(style) == emoji.concepts("noto")
    true, computed = emoji.images("noto"), emoji.images(style)
    drawn = (true < 200).any(-1)
    assert computed[~drawn & (true > 250).all(-1)].mean() > 240, "white stays white, up to the lines at its edge"
    assert (computed[drawn] < 250).any(-1).mean() > 0.95, "what is drawn is drawn there"
    with pytest.raises(ValueError, match="read-only"):
        computed[0] = 0


def test_unknown_style():
    with pytest.raises(UserError, match="Did you mean 'noto'"):
        emoji.images("notto")


def test_size():
    folder = resources.files("snrlab.data.emoji")
    assert sum(len(folder.joinpath(f"{s}.webp").read_bytes()) for s in emoji.drawn_styles()) < 10e6
