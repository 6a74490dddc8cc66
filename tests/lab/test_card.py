"""The model card: a head that hubs read, pictures that are there, numbers of the run, no folder of the machine."""

import re

import pytest
import yaml
from PIL import Image

import tiny
from snrlab.lab.card import write_card
from snrlab.lab.report import change_by_band
from snrlab.runs.logs import read_validation
from snrlab.train import runner

AWKWARD = 'a "cat": [red] \\ # é'


@pytest.fixture(scope="module")
def folder(tiny_model, pictures, tmp_path_factory):
    config = tiny.run_config(
        tiny_model,
        pictures,
        train={"steps": 2},
        validation={"images": 2},
        sample={"prompts": [f"{AWKWARD} --d 3", "b"], "steps": 2},
        output={"model_card": True, "trigger_phrase": AWKWARD, "license": "mit", "tags": [AWKWARD]},
    )
    return runner.run(config, tmp_path_factory.mktemp("card")).folder


def card_of(folder):
    _, head, body = (folder.path / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(head), body


def test_the_head_is_what_hubs_read(folder):
    head, _ = card_of(folder)
    assert head["base_model"] == "tiny"
    assert head["license"] == "mit"
    assert head["instance_prompt"] == AWKWARD
    assert {"lora", "diffusers", "text-to-image", "template:sd-lora", AWKWARD} <= set(head["tags"])
    assert [entry["text"] for entry in head["widget"]] == [AWKWARD, "b"], "without the flags of its line"
    for entry in head["widget"]:
        with Image.open(folder.path / entry["output"]["url"]) as picture:
            assert picture.size == (16, 16)


def test_pictures_plot_and_numbers_are_of_the_run(folder):
    _, body = card_of(folder)
    links = re.findall(r"!\[(?:\\.|[^\]])*\]\(([^)]+)\)", body)
    assert links == ["samples/step-00000002/01.png", "samples/step-00000002/02.png", "recipe.png"]
    assert all((folder.path / link).is_file() for link in links)
    for band, values in change_by_band(list(read_validation(folder.validation_file))).items():
        assert f"| {band} | {values[0]} | {values[1]} | {values[2]} |" in body
    assert "LoRA of rank 2" in body
    assert "learning_rate = 0.01" in body


def test_it_names_no_folder_and_is_the_same_each_time(folder, pictures, tiny_model):
    text = (folder.path / "README.md").read_bytes()
    plot = (folder.path / "recipe.png").read_bytes()
    for path in (folder.path, pictures.parent, tiny_model.parent):
        assert str(path).encode() not in text
    write_card(folder.path)
    assert (folder.path / "README.md").read_bytes() == text
    assert (folder.path / "recipe.png").read_bytes() == plot
