"""Graphs: every panel for every strategy, the same bytes each time, nothing that hides or overlaps."""

import csv
import io
import json
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

import tiny
from drawing import all_of, default, entry_id
from snrlab.core.errors import UserError
from snrlab.core.perturbation import PERTURBATIONS
from snrlab.core.recipe import Recipe
from snrlab.core.timesteps.density import DENSITIES
from snrlab.core.weights.weighting import WEIGHTINGS
from snrlab.data import emoji
from snrlab.lab.figures.article import PLATES, write_article
from snrlab.lab.figures.data_files import curves_to_csv
from snrlab.lab.figures.noise_strip import noisy_picture
from snrlab.lab.figures.page import page
from snrlab.lab.figures.panels import PANELS
from snrlab.lab.figures.plots import _spread_apart, draw_figure, figure_bytes
from snrlab.lab.figures.run_figures import _draw_recipe
from snrlab.lab.figures.sliders import sliders
from snrlab.lab.figures.theme import THEMES
from snrlab.lab.recipe_text import parse_recipe

FIELDS = {"weighting": WEIGHTINGS, "density": DENSITIES, "perturbation": PERTURBATIONS}


def tables_of(*texts):
    return {label: recipe.tables() for label, recipe in map(parse_recipe, texts)}


@pytest.mark.parametrize(
    ("field", "entries"),
    [(field, all_of(r)[at : at + 16]) for field, r in FIELDS.items() for at in range(0, len(all_of(r)), 16)],
    ids=lambda v: v if isinstance(v, str) else "-".join(map(entry_id, v)),
)
def test_every_strategy_can_be_drawn(field, entries):
    plain = Recipe(prediction_type="v_prediction")
    recipes = {e.name: replace(plain, **{field: (c,) if field == "weighting" else c}) for e, c in
               ((e, default(e)) for e in entries)}  # fmt: skip
    figure = draw_figure({name: recipe.tables() for name, recipe in recipes.items()}, list(PANELS))
    assert len(figure_bytes(figure, "svg")) > 10_000


def test_every_entry_has_a_word():
    for field, registry in FIELDS.items():
        for entry in all_of(registry):
            choice = default(entry)
            _, recipe = parse_recipe(f"{field}='{choice.spec}'" if " " in choice.spec else f"{field}={choice.spec}")
            parsed = getattr(recipe, field)
            assert parsed == ((choice,) if field == "weighting" else choice)


def test_a_switch_is_written_as_in_a_run_file_too():
    assert parse_recipe("debiased normalize=true")[1] == parse_recipe("debiased normalize")[1]
    assert parse_recipe("v_prediction zero_terminal_snr=false")[1] == parse_recipe("v_prediction")[1]
    with pytest.raises(UserError, match="normalize is true or false, not 'yes'"):
        parse_recipe("debiased normalize=yes")


@pytest.mark.parametrize("format", ["png", "svg"])
def test_the_same_bytes_each_time(format):
    files = [figure_bytes(draw_figure(tables_of("plain", "min_snr"), ["weight"]), format) for _ in range(2)]
    assert files[0] == files[1]


def test_dark_is_dark():
    light, dark = (
        np.asarray(
            Image.open(io.BytesIO(figure_bytes(draw_figure(tables_of("plain"), ["emphasis"], mode=m), "png"))).convert(
                "L"
            )
        )
        for m in ("light", "dark")
    )
    assert np.median(light) > 240
    assert np.median(dark) < 40


def test_no_leader_line_runs_through_a_word():
    figure = draw_figure(tables_of("plain", "min_snr", "soft_min_snr", "p2"), ["weight"], width=6.2)
    figure.savefig(io.BytesIO(), format="svg")  # lays it out
    words = figure.axes[0].texts
    for leader in words:
        line = leader.arrow_patch.get_path().transformed(leader.arrow_patch.get_transform())
        for word in words:
            box = Text.get_window_extent(word)
            assert word is leader or not line.intersects_bbox(box.shrunk(0.9, 0.9)), (leader, word)


@pytest.mark.parametrize("text", ["min_snr", "v_prediction zero_terminal_snr"])
def test_timesteps_above_the_graphs_keep_apart(text):
    tables = tables_of(text)
    for figure in (draw_figure({"a long name": tables[text]}, ["weight"], width=6.2), _draw_recipe(tables[text])):
        figure.savefig(io.BytesIO(), format="svg")  # lays it out
        for axes in figure.axes:
            boxes = [label.get_window_extent() for label in axes.child_axes[0].get_xticklabels()]
            assert len(boxes) > 2
            assert all(left.x1 < right.x0 for left, right in pairwise(sorted(boxes, key=lambda b: b.x0)))


def test_equal_curves_share_a_label():
    figure = draw_figure(tables_of("a = min_snr debiased", "b = debiased min_snr", "c = plain"), ["weight"])
    labels = [text.get_text() for text in figure.axes[0].texts]
    assert sorted(labels) == ["a\nb", "c"]


def test_curves_that_look_alike_share_a_label_too():
    figure = draw_figure(tables_of("a = min_snr:gamma=5", "b = min_snr:gamma=5.001", "c = min_snr:gamma=9"), ["weight"])
    assert "a\nb" in [text.get_text() for text in figure.axes[0].texts]


GREY = THEMES["light"].reference


@pytest.mark.parametrize("panel", [name for name in PANELS if name != "snr"])
def test_plain_training_is_grey_in_every_graph(panel):
    """Alone or not; a recipe that is plain is the reference itself and is not drawn twice."""
    for texts, label in (
        (["ip_noise debiased density=laplace"], "plain"),
        (["P = plain", "density=laplace debiased"], "P"),
    ):
        axes = draw_figure(tables_of(*texts), [panel]).axes[0]
        by_label = {word.get_text(): word.get_color() for word in axes.texts}
        assert [name for name, color in by_label.items() if color == GREY] == [label] or len(by_label) == 1
        assert len(axes.lines) <= 2
    panels = _draw_recipe(tables_of("debiased")["debiased"]).axes
    assert all(GREY in [line.get_color() for line in axes.lines] for axes in panels)


def strips(figure):
    return [[frame for frame in axes.child_axes if frame.images] for axes in figure.axes]


def test_a_picture_stands_above_the_first_axis_of_noise_levels():
    figure = draw_figure(tables_of("min_snr"), ["snr", "weight", "emphasis"])
    assert [len(strip) > 3 for strip in strips(figure)] == [False, True, False]
    assert strips(draw_figure(tables_of("min_snr"), ["density"])) == [[]]
    assert all(strips(_draw_recipe(tables_of("min_snr")["min_snr"])))


def test_the_pictures_are_as_noisy_as_their_place():
    """x_t of the apple that ships: its variance about the clean picture is 1 / (1 + SNR), until it is cut to [0, 1]."""
    index = next(i for i, concept in enumerate(emoji.concepts("noto")) if concept.name == "red apple")
    clean = emoji.images("noto")[index] / 255
    assert noisy_picture(1e12) == pytest.approx(clean, abs=1e-5)
    middle = np.abs(clean - 0.5) < 0.1  # where little is cut
    for snr in (400.0, 30.0):
        seen = 2 * noisy_picture(snr) - 1
        expected = np.sqrt(snr / (1 + snr)) * (2 * clean - 1)
        assert np.std((seen - expected)[middle]) == pytest.approx(np.sqrt(1 / (1 + snr)), rel=0.15)
    figure = draw_figure(tables_of("min_snr"), ["weight"])
    spread = [float(np.std(frame.images[0].get_array() - clean)) for frame in strips(figure)[0]]
    assert spread == sorted(spread)


@pytest.mark.parametrize("panels", [["weight"], ["emphasis", "weight"]])
def test_titles_stand_above_the_pictures_and_within_the_figure(panels):
    for figure in (draw_figure(tables_of("min_snr"), panels), _draw_recipe(tables_of("min_snr")["min_snr"])):
        figure.savefig(io.BytesIO(), format="png")
        for axes, strip in zip(figure.axes, strips(figure), strict=True):
            box = axes._left_title.get_window_extent()
            assert box.y1 <= figure.bbox.y1
            assert all(frame.get_window_extent().y1 <= box.y0 for frame in strip)


def test_a_step_without_signal_is_a_bar():
    def bars(text):
        axes = draw_figure(tables_of(text), ["emphasis"]).axes[0]
        return [patch.get_height() for frame in axes.child_axes for patch in frame.patches]

    assert bars("v_prediction") == []
    assert bars("v_prediction zero_terminal_snr") == pytest.approx([0.1])  # percent: one step of a thousand
    assert bars("v_prediction zero_terminal_snr min_snr") == pytest.approx([0, 0.1])  # and plain training


@pytest.mark.parametrize("wanted", [[0.5] * 4, [0.0, 0.01, 0.99, 1.0], [0.98, 0.97, 0.99]])
def test_labels_keep_apart_and_below_the_top(wanted):
    heights = [0.1] * len(wanted)
    places = np.sort(_spread_apart(wanted, heights))
    assert (np.diff(places) >= 0.0999).all()
    assert places[-1] <= 0.95


def test_csv_has_every_panel_and_blank_where_nothing_is_finite():
    rows = list(csv.DictReader(io.StringIO(curves_to_csv(tables_of("v_prediction zero_terminal_snr min_snr")))))
    assert len(rows) == 1000
    assert set(PANELS) <= set(rows[0])
    assert rows[999]["log_snr"] == rows[999]["weight_epsilon"] == ""
    assert float(rows[999]["weight"]) == 0
    assert float(rows[500]["weight"]) == pytest.approx(0.31988662 / 1.31988662, rel=2e-2)


def test_the_page_needs_nothing_else():
    text = page({k: ("described", t) for k, t in tables_of("a</script>b = plain", "debiased").items()}, ["weight"])
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", text)
    assert "http" not in re.sub(r"https?://(?:github\.com/leeoniya|www\.w3\.org)", "", text)
    content = re.search(r'id="data">(.*?)</script>', text, re.S)[1]
    series = json.loads(content)["panels"][0]["series"]
    assert [(s["label"], s["color"]) for s in series] == [("a</script>b", -1), ("debiased", 0)]
    assert series[1]["y"][0] == pytest.approx(14.6146412, rel=1e-4)


def test_sliders_hold_the_curves_of_other_values():
    recipe = parse_recipe("min_snr:gamma=5 debiased")[1]
    gamma, limit = sliders("both", recipe)
    assert (gamma.parameter, limit.parameter) == ("min_snr gamma", "max_weight")
    assert (gamma.values[gamma.start], limit.values[limit.start]) == ("5", "none")
    assert gamma.tables[gamma.start].weight == pytest.approx(recipe.tables().weight)
    at_20 = gamma.tables[gamma.values.index("20")].weight
    assert at_20 == pytest.approx(parse_recipe("min_snr:gamma=20 debiased")[1].tables().weight)
    text = page({"both": ("described", recipe.tables())}, ["snr", "weight"], [gamma])
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])
    (slider,) = data["sliders"]
    assert slider["curves"][0] is None  # the schedule does not depend on gamma
    assert slider["curves"][1][slider["start"]] == pytest.approx(data["panels"][1]["series"][0]["y"], rel=1e-4)
    assert list(sliders("plain", Recipe())) == []


@pytest.mark.long
def test_the_article_shows_all_and_never_overwrites(tmp_path):
    written = write_article(tmp_path / "article")
    assert len(written) == 2 * (len(PLATES) + 1) + 1
    text = written[-1].read_text()
    assert all(file.name in text for file in written[:-1])
    with pytest.raises(UserError, match="not empty"):
        write_article(tmp_path / "article")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to draw"),
        (["plain", "plain"], "two recipes are called 'plain'"),
        (["min_snrr"], "Did you mean 'min_snr'"),
        (["plain", "--show", "weights"], "Did you mean 'weight'"),
        (["plain", "-o", "x.jpg"], "Allowed: .png, .svg, .html, .csv"),
        (["plain", "--theme", "drak"], "Did you mean 'dark'"),
        (["plain", "-o", "nowhere/x.png"], "there is no folder nowhere"),
        (["nofile.toml"], "there is no file nofile.toml"),
        (["max_weight=0"], "must be a number > 0"),
        (["'min_snr"], "cannot be read"),
    ],
)
def test_mistakes(arguments, message, tmp_path):
    done = tiny.snrlab("plot", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["png", "svg", "html", "csv"])
def test_the_command_writes_each_kind(suffix, tmp_path):
    done = tiny.snrlab("plot", "plain", "Limited = debiased max_weight=7", "-o", f"out.{suffix}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / f"out.{suffix}").stat().st_size > 5000
