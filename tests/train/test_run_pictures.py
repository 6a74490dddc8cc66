"""Pictures for a comparison of runs: same noise, the right LoRA at every place of the slider."""

import json

import pytest

import tiny
from snrlab.core.errors import UserError
from snrlab.evaluate.run_pictures import draw_run_pictures
from snrlab.lab.run_comparison.picture_table import PictureView
from snrlab.lab.run_comparison.run_record import read_run_records

pytestmark = pytest.mark.slow  # trains two runs


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Two runs of two steps that saved after the first, of a model without an autoencoder."""
    folder = tmp_path_factory.mktemp("compared")
    text = """
    name = "a"
    [model]
    random = "pixels"
    [data]
    shipped = "ink"
    resolution = 16
    limit = 4
    [validation]
    images = 2
    [train]
    steps = 2
    batch_size = 2
    learning_rate = 0.05
    [lora]
    rank = 1
    [sample]
    prompts = ["red apple", "cat face"]
    steps = 2
    at_start = false
    [output]
    every = 1
    report = false
    model_card = false
    """
    (folder / "run.toml").write_text(text)
    for name, setting in (("a", "seed=0"), ("b", "recipe.weighting=['debiased']")):
        done = tiny.snrlab("train", "run.toml", "--set", f'name="{name}"', "--set", setting, cwd=folder)
        assert done.returncode == 0, done.stderr
    return read_run_records([str(folder / "runs" / name) for name in "ab"])


def test_the_slider_shows_each_saved_step_and_the_end(records):
    table = draw_run_pictures(records)
    first, end = PictureView(1, 1.0), PictureView(None, 1.0)
    assert table.views == (first, end)
    assert table.prompts == ("red apple", "cat face")
    base, a, b = table.rows
    assert (base.label, a.label, b.label) == ("without a LoRA", "a", "b")
    pictures = [base.views[None], a.views[first], a.views[end], b.views[end]]
    assert len(set(pictures)) == 4, "each place shows what its own weights draw"
    again = draw_run_pictures(records, strengths=(0.0,))
    assert again.rows[0].views == base.views, "the same noise each time"
    assert len(again.rows) == 1, "strength 0 is the base model, drawn once"


def test_steps_and_prompts_that_are_asked_for(records):
    table = draw_run_pictures(records, ["rocket"], steps=[2], strengths=[1.0])
    assert (table.prompts, table.views) == (("rocket",), (PictureView(None, 1.0),))
    with pytest.raises(UserError, match=r"no run has a LoRA of step 7. Allowed: 1, 2\."):
        draw_run_pictures(records, steps=[7])


def test_the_data_says_what_was_measured(records, tmp_path):
    done = tiny.snrlab("compare", *(record.path for record in records), "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["pairs"][0]["count"] == 2
