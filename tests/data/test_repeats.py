"""How often images are seen: shares of sets, regularisation images."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from imaging import captioned
from snrlab.config.sections.data import DataConfig
from snrlab.data.dataset import load_items
from snrlab.data.repeats import balance_regularisation, scale_repeats, share_epoch

repeats = st.lists(st.integers(1, 5), min_size=1, max_size=8)


@given(repeats, st.integers(1, 60))
def test_regularisation_is_counted_as_kohya_counts_it(counts, total):
    """Images are registered with their own repeats until there are enough, then each once more in turn."""
    expected, seen, first_round = [0] * len(counts), 0, True
    while seen < total:
        for place, times in enumerate(counts):
            more = times if first_round else 1
            expected[place] += more
            seen += more
            if seen >= total:
                break
        first_round = False
    assert balance_regularisation(counts, total) == expected


@given(repeats, st.data())
def test_spread_sums_up_and_is_fair(counts, data):
    total = data.draw(st.integers(sum(counts), 40 * sum(counts)))
    repeated = scale_repeats(counts, total)
    assert sum(repeated) == total
    exact = np.array(counts) * total / sum(counts)
    assert np.abs(repeated - exact).max() < 1
    assert all(n >= k for n, k in zip(repeated, counts, strict=True)), "no image is seen less than it was"


@given(st.lists(st.integers(1, 50), min_size=2, max_size=4), st.data())
def test_shares(counts, data):
    weights = data.draw(st.lists(st.integers(1, 9), min_size=len(counts), max_size=len(counts)))
    ratios = [w / sum(weights) for w in weights]
    totals = share_epoch(counts, ratios)
    assert all(total >= count for total, count in zip(totals, counts, strict=True))
    for total, ratio in zip(totals, ratios, strict=True):
        assert abs(total - ratio * sum(totals)) <= 1 + len(counts) / 2


def two_sets(tmp_path, first, second, **data):
    captioned(tmp_path / "few", **{f"f{i}": "few" for i in range(2)})
    captioned(tmp_path / "many", **{f"m{i}": "many" for i in range(5)})
    sets = [{"folder": str(tmp_path / "few"), **first}, {"folder": str(tmp_path / "many"), **second}]
    return load_items(DataConfig(sets=sets, **data), 0)[0]


def seen(items, name):
    return sum(i.repeats for i in items if i.part.name == name)


def test_ratio_sets_the_share_whatever_the_counts(tmp_path):
    items = two_sets(tmp_path, {"ratio": 0.75}, {"ratio": 0.25})
    assert (seen(items, "few"), seen(items, "many")) == (15, 5)
    assert sorted(i.repeats for i in items) == [1] * 5 + [7, 8]


def test_regularisation_follows_the_images_that_are_left(tmp_path):
    items = two_sets(tmp_path, {"repeats": 3}, {"regularisation": True})
    assert (seen(items, "few"), seen(items, "many")) == (6, 6)
    limited = two_sets(tmp_path, {"repeats": 3}, {"regularisation": True}, limit=1)
    assert (seen(limited, "few"), seen(limited, "many")) == (3, 3)
    assert sum(i.part.regularisation for i in limited) == 3, "the other two are not used"


def test_regularisation_is_never_held_back(tmp_path):
    captioned(tmp_path / "own", a="1", b="2", c="3")
    captioned(tmp_path / "class", **{f"r{i}": "r" for i in range(6)})
    config = DataConfig(folder=str(tmp_path / "own"), regularisation=str(tmp_path / "class"))
    items, held_back = load_items(config, 0, 2)
    assert [i.part.name for i in held_back] == ["own", "own"]
    assert (seen(items, "own"), seen(items, "class")) == (1, 1)
