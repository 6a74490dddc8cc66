"""The style classifier and what is measured with it, on true pictures where the answers are known."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import tiny
from snrlab import UserError
from snrlab.cli import main
from snrlab.config import dump, parse_run
from snrlab.core.schedule import SCHEDULES
from snrlab.data import emoji
from snrlab.data.emoji.computed_styles import COMPUTED_STYLES
from snrlab.evaluate.evaluation import choose_concepts
from snrlab.evaluate.measures import Measures, differences, measure
from snrlab.evaluate.palette import has_palette_of
from snrlab.evaluate.style_classifier import feature_views, load_style_classifier
from snrlab.lab.statistics import mean
from snrlab.models.encoding.encode import encode_captions
from snrlab.train.outputs.validation import epsilon_errors, errors_by_band, grid


def held_out(style, others):
    shared = [c.code for c in emoji.concepts(style) if c.held_out]
    return [c for c in shared if all(c in {k.code for k in emoji.concepts(o)} for o in others)]


def pictures(style, codes):
    place = {c.code: i for i, c in enumerate(emoji.concepts(style))}
    return emoji.images(style)[[place[c] for c in codes]]


def test_the_style_classifier_finds_unseen_concepts_across_styles():
    classifier, styles = load_style_classifier()
    assert set(styles) == set(emoji.drawn_styles())
    codes = held_out("noto", ["fluent_3d", "ink"])
    seen = {s: feature_views(classifier, torch.tensor(pictures(s, codes))) for s in styles}
    own = torch.arange(len(codes))
    match = seen["noto"].content @ seen["fluent_3d"].content.T
    top = ((match.argmax(0) == own).float().mean() + (match.argmax(1) == own).float().mean()) / 2
    assert top >= 0.7
    for s, views in seen.items():
        accuracy = (views.style.argmax(1) == styles.index(s)).float().mean()
        assert accuracy > (0.95 if s == "ink" else 0.75), "ink is told at a glance, the two coloured styles mostly"


def test_true_pictures_score_best():
    codes = [c.code for c in emoji.concepts("ink") if not c.held_out][:200]
    true, other = (measure(pictures(s, codes), codes, "ink") for s in ("ink", "noto"))
    shuffled = measure(pictures("ink", codes[100:] + codes[:100]), codes, "ink")
    assert true.distance.max() < 1e-5
    assert true.match.mean() == 1
    assert true.style.mean() > 0.97
    assert other.style.mean() < 0.03
    assert shuffled.match.mean() < 0.06
    assert shuffled.style.mean() > 0.97
    assert true.kid(np.arange(200)) < other.kid(np.arange(200))
    change = differences(other, true)
    assert change["paired distance"].high < 0
    assert change["KID"].high < 0
    assert change["style"].low > 0.9


def test_kid_is_that_of_torchmetrics():
    """By the kernel of torchmetrics 1.9 (`poly_kernel`) the same features gave this number."""
    rng = np.random.default_rng(7)
    features, true_features = torch.from_numpy(rng.standard_normal((2, 8, 6)) + np.array([[[0.0]], [[0.5]]]))
    none = np.zeros(8)
    measures = Measures("judge", features, true_features, none, None, none, none)
    assert measures.kid(np.arange(8)) == pytest.approx(2.174303982602221, rel=1e-13)


def test_the_same_pictures_do_not_differ():
    codes = [c.code for c in emoji.concepts("ink")][:60]
    one = measure(pictures("noto", codes), codes, "ink")
    for change in differences(one, one).values():
        assert change.value == 0
        assert change.low <= 0 <= change.high


def test_concepts_of_an_evaluation():
    known = choose_concepts("ink", "known", 256, ["1f600"])
    assert len({c.code for c in known}) == 256
    assert not any(c.held_out or c.code == "1f600" for c in known)
    assert all(c.held_out for c in choose_concepts("ink", "held_out", 256, []))
    with pytest.raises(UserError, match="only"):
        choose_concepts("ink", "known", 5000, [])


def test_validation_grid_and_errors(tiny_model):
    model = tiny.components()
    schedule = SCHEDULES.bind("sd")()
    assert len(grid(schedule)) == 12
    assert (np.diff(grid(schedule)) > 0).all()
    latents = torch.randn(5, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    text = encode_captions(model, ["a"] * 5)
    one, again = (epsilon_errors(model, schedule, "epsilon", latents, text) for _ in range(2))
    assert np.array_equal(one, again)
    assert one.shape == (5, 12)
    bands = errors_by_band(one, schedule)
    assert [len(v) for v in bands.values()] == [5] * 4
    assert mean(bands["SNR >= 5"]).value == pytest.approx(one[:, :3].mean())


def test_errors_are_in_epsilon_terms_whatever_is_predicted():
    """A network that says zero, read as v: its x0 error, seen as epsilon error."""
    model, schedule = tiny.components("v_prediction"), SCHEDULES.bind("sd")()
    for parameter in (model.unet.conv_out.weight, model.unet.conv_out.bias):
        torch.nn.init.zeros_(parameter)
    latents = torch.randn(64, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    text = encode_captions(model, ["a"] * 64)
    errors = epsilon_errors(model, schedule, "v_prediction", latents, text).mean(0)
    # v = 0 has error alpha^2 + sigma^2 = 1 for unit data; on epsilon that is alpha^2
    assert errors == pytest.approx(schedule.alphas_cumprod[grid(schedule)], rel=0.08)


@pytest.mark.slow
def test_command_on_a_folder_of_pictures(tmp_path):
    codes = [c.code for c in emoji.concepts("ink")][:30]
    for code, picture in zip(codes, pictures("ink", codes), strict=True):
        Image.fromarray(picture).save(tmp_path / f"{code}.png")
    done = tiny.snrlab("evaluate", tmp_path, "--style", "ink", "--format", "json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["count"] == 30
    (row,) = report["rows"]
    assert row["name"] == "pictures"
    assert row["measures"]["caption match"]["value"] == 1
    assert abs(row["measures"]["KID"]["value"]) < 1e-9
    (tmp_path / "cat.png").write_bytes((tmp_path / f"{codes[0]}.png").read_bytes())
    done = tiny.snrlab("evaluate", tmp_path)
    assert done.returncode == 2
    assert "cat is not a concept of the style ink" in done.stderr


def test_wrong_commands(tmp_path, monkeypatch, capsys):
    for arguments, message in (
        (["nowhere"], "there is no"),
        ([tmp_path], "there is no image"),
        ([tmp_path, "--style", "inc"], "Did you mean 'ink'"),
        ([tmp_path, "--concepts", "unseen"], "Allowed: known, held_out"),
        ([tmp_path, "--features", "juge"], "Did you mean 'judge'"),
        ([tmp_path, "--strength", "0.5"], "--strength says how to draw pictures"),
        (["small", "--strength", "0.5"], "--strength sets how much of a LoRA is used"),
    ):
        monkeypatch.setattr(sys, "argv", ["snrlab", "evaluate", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == 2, arguments
        assert message in capsys.readouterr().err


def test_palettes_recognise_the_computed_styles():
    """Of true pictures: nearly all of the style, and as few of Noto as the docstring says."""
    for style in COMPUTED_STYLES:
        assert has_palette_of(style, emoji.images(style)).mean() > 0.99
        assert has_palette_of(style, emoji.images("noto")).mean() < 0.12
        assert has_palette_of(style, emoji.images("ink")).mean() < 0.01


def test_a_lora_of_own_images_is_not_measured_against_a_shipped_style(tmp_path):
    (tmp_path / "mine").mkdir()
    config = {"name": "mine", "model": {"shipped": "small"}, "data": {"folder": "photos"}, "train": {"steps": 1}}
    (tmp_path / "mine" / "run.toml").write_text(dump(parse_run(config)), encoding="utf-8")
    (tmp_path / "mine" / "mine.safetensors").touch()
    done = tiny.snrlab("evaluate", "mine", cwd=tmp_path)
    assert done.returncode == 2
    assert "was not trained on a style that ships" in done.stderr
    assert "--style ink" in done.stderr, "the way to measure it all the same"
