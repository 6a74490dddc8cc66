"""The demo on fewer steps: what it shows comes from the files of its run."""

import json
import shutil

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

import tiny
from snrlab.cli.training.demo import RECIPES, demo_configs
from snrlab.config import dump, parse_run
from snrlab.core.errors import UserError
from snrlab.data import emoji
from snrlab.data.dataset import load_items
from snrlab.evaluate.demo_report import showcase
from snrlab.runs.folder import RunFolder
from snrlab.train import runner

COUNT = 20
STYLE = "pencil"


def short(recipe="Min-SNR-5", name="demo", **train):
    config = demo_configs(dates=False)[recipe].model_dump(exclude_none=True)
    config["name"] = name
    config["train"] |= {"steps": 5, "batch_size": 4, "learning_rate": 5e-3, "warmup": 1, **train}
    config["validation"]["images"] = 4
    config["sample"]["steps"] = 2
    return parse_run(config)


@pytest.fixture(scope="module")
def messages():
    return []


@pytest.fixture(scope="module")
def folder(messages, tmp_path_factory):
    with tiny.messages() as texts:
        outcome = runner.run(short(), tmp_path_factory.mktemp("demo"))
    messages += texts
    return outcome.folder


def test_the_first_run_of_a_newcomer_has_no_warning_and_says_what_takes_time(folder, messages):
    assert not [text for text in messages if "captions_cut" in text], "they are not the user's to shorten"
    announced = [text for text in messages if text.endswith(" ...")]
    assert announced == [
        "loading the model small ...",
        "drawing 8 pictures ...",
        "measuring 4 images that are not trained on ...",
        "drawing 8 pictures ...",
    ]
    assert messages[0] == announced[0], "before anything that takes time"


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return runner.run(short("Debiased", "other"), tmp_path_factory.mktemp("other")).folder


def test_the_runs_differ_in_their_weighting_alone():
    one, other = (config.model_dump() for config in demo_configs().values())
    assert list(RECIPES) == ["Min-SNR-5", "Debiased"]
    differ = {key for key in one if one[key] != other[key]}
    assert differ == {"name", "recipe"}
    assert {key for key in one["recipe"] if one["recipe"][key] != other["recipe"][key]} == {"weighting"}


def test_the_prompts_are_known_concepts_that_the_lora_never_sees():
    config = demo_configs()["Min-SNR-5"]
    trained, held_back = load_items(config.data, config.seed, config.validation.images)
    assert len(trained) == 40
    assert len(held_back) == config.validation.images
    by_name = {c.name: c for c in emoji.concepts(STYLE)}
    for prompt in config.sample.prompts:
        assert by_name[prompt].code not in {item.name for item in trained}
        assert not by_name[prompt].held_out


@pytest.fixture(scope="module")
def shown(folder, other):
    return showcase({"Min-SNR-5": folder, "Debiased": other}, COUNT)


@pytest.mark.long
def test_the_report_shows_what_was_measured(folder, other, shown):
    for run, evaluation in zip((folder, other), shown.values(), strict=True):
        assert json.loads(run.evaluation_file.read_text())["count"] == COUNT
        report = run.report.read_text()
        for row in evaluation.rows:
            for value in row.measures.values():
                assert str(value).replace(" ", " <small>", 1) in report
        assert "What the LoRA changes" in report
    picture = Image.open(folder.comparison_file)
    assert picture.width > 8 * 128
    assert picture.height > 4 * 128, "the true pictures, the base model's, and those of two recipes"
    assert folder.comparison_file.read_bytes()[-1000:] == other.comparison_file.read_bytes()[-1000:]


@pytest.mark.long
def test_its_numbers_come_from_the_lora_file(folder, shown):
    base, lora = shown["Min-SNR-5"].rows
    assert shown["Debiased"].rows[0] == base, "drawn once, from the same noise"
    assert lora.measures != base.measures
    assert lora.measures != shown["Debiased"].rows[1].measures
    file = folder.path / "demo.safetensors"
    whole = file.read_bytes()
    tensors = {k: v * 0 if k.endswith("lora_up.weight") else v for k, v in load_file(file).items()}
    save_file(tensors, file)
    try:
        (corrupted,) = showcase({"Min-SNR-5": folder}, COUNT).values()
    finally:
        file.write_bytes(whole)
    assert corrupted.rows[0] == base, "nothing in it is random"
    assert corrupted.rows[1].measures == base.measures, "a LoRA of zeros changes nothing"
    assert {e.value for e in corrupted.rows[1].change.values()} == {0.0}


def test_a_prompt_that_was_trained_on_is_refused(folder, tmp_path):
    config = short()
    trained, _ = load_items(config.data, config.seed, config.validation.images)
    name = next(c.name for c in emoji.concepts(STYLE) if c.code == trained[0].name)
    config = config.model_copy(update={"sample": config.sample.model_copy(update={"prompts": [name]})})
    run = RunFolder(shutil.copytree(folder.path, tmp_path / "demo"))
    (run.path / "run.toml").write_text(dump(config), encoding="utf-8")
    with pytest.raises(UserError, match="was trained on"):
        showcase({"Min-SNR-5": run}, COUNT)
