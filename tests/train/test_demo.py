"""The demo on fewer steps: what it shows comes from the files of its run."""

import json
import shutil

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

import tiny
from snrlab.cli.training.demo import demo_config
from snrlab.config import dump, parse_run
from snrlab.core.errors import UserError
from snrlab.data import emoji
from snrlab.data.dataset import load_items
from snrlab.evaluate.demo_report import showcase
from snrlab.runs.folder import RunFolder
from snrlab.train import runner

COUNT = 20


def short(name="demo", **train):
    config = demo_config("ink", dates=False).model_dump(exclude_none=True)
    config["name"] = name
    config["train"] |= {"steps": 8, "batch_size": 4, "learning_rate": 5e-3, "warmup": 1, **train}
    config["validation"]["images"] = 4
    config["sample"]["steps"] = 4
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


@pytest.mark.parametrize("style", ["ink", "fluent_3d"])
def test_the_prompts_are_known_concepts_that_the_lora_never_sees(style):
    config = demo_config(style)
    trained, held_back = load_items(config.data, config.seed, config.validation.images)
    assert len(trained) == 40
    assert len(held_back) == 64
    by_name = {c.name: c for c in emoji.concepts(style)}
    for prompt in config.sample.prompts:
        assert by_name[prompt].code not in {item.name for item in trained}
        assert not by_name[prompt].held_out


@pytest.fixture(scope="module")
def shown(folder):
    return showcase(folder, COUNT)


def test_the_report_shows_what_was_measured(folder, shown):
    assert json.loads(folder.evaluation_file.read_text())["count"] == COUNT
    report = folder.report.read_text()
    for row in shown.rows:
        for value in row.measures.values():
            assert str(value).replace(" ", " <small>", 1) in report
    assert "What the LoRA changes" in report
    picture = Image.open(folder.comparison_file)
    assert picture.width > 8 * 128
    assert picture.height > 3 * 128


def test_its_numbers_come_from_the_lora_file(folder, shown):
    base, lora = shown.rows
    assert lora.measures != base.measures
    file = folder.path / "demo.safetensors"
    whole = file.read_bytes()
    tensors = {k: v * 0 if k.endswith("lora_up.weight") else v for k, v in load_file(file).items()}
    save_file(tensors, file)
    try:
        corrupted = showcase(folder, COUNT)
    finally:
        file.write_bytes(whole)
    assert corrupted.rows[0] == base, "nothing in it is random"
    assert corrupted.rows[1].measures == base.measures, "a LoRA of zeros changes nothing"
    assert {e.value for e in corrupted.rows[1].change.values()} == {0.0}


def test_two_runs_give_the_same_bytes(folder, tmp_path):
    again = runner.run(short(), tmp_path).folder
    for name in ("demo.safetensors", "validation.jsonl", "steps.jsonl"):
        assert (again.path / name).read_bytes() == (folder.path / name).read_bytes(), name


def test_a_prompt_that_was_trained_on_is_refused(folder, tmp_path):
    config = short()
    trained, _ = load_items(config.data, config.seed, config.validation.images)
    name = next(c.name for c in emoji.concepts("ink") if c.code == trained[0].name)
    config = config.model_copy(update={"sample": config.sample.model_copy(update={"prompts": [name]})})
    run = RunFolder(shutil.copytree(folder.path, tmp_path / "demo"))
    (run.path / "run.toml").write_text(dump(config), encoding="utf-8")
    with pytest.raises(UserError, match="was trained on"):
        showcase(run, COUNT)


def test_unknown_style():
    done = tiny.snrlab("demo", "--style", "inc")
    assert done.returncode == 2
    assert "Did you mean 'ink'" in done.stderr
