"""What is passed on of a run has no folder of this machine, and every text as it was written."""

import json
from typing import get_args

import pytest
from pydantic import BaseModel

from snrlab.config import dump, parse_run
from snrlab.config.redact import cut_paths, last_name, without_paths
from snrlab.config.run import RunConfig
from snrlab.config.sections.data import ImageSet
from snrlab.core.recipe import Recipe
from snrlab.model_files.metadata.kohya_metadata import BaseHashes, Images, Training
from snrlab.model_files.metadata.lora_metadata import lora_metadata
from snrlab.train.failure.bug_report import report

FOLDER = "/home/someone/private things"
PATH, TEXT = f"{FOLDER}/last.bin", "/imagine a cat, in a house"
PATHS = {
    "model.path", "model.vae", "data.folder", "data.masks", "data.regularisation", "data.dataset_config",
    "data.cache_folder", "data.sets.folder", "data.sets.masks", "lora.start_from", "sample.prompts_file",
    "validation.folder",
}  # fmt: skip
OF_IMAGES = ("caption", "caption_prefix", "caption_suffix", "caption_separator", "secondary_separator",
             "keep_tokens_separator")  # fmt: skip
TEXTS = {
    *(f"data.{name}" for name in OF_IMAGES), *(f"data.sets.{name}" for name in OF_IMAGES), "sample.prompts",
    "sample.negative", "output.title", "output.author", "output.description", "output.license", "output.tags",
    "output.trigger_phrase", "log.project",
}  # fmt: skip
# names that no path begins with; were one of them a path, it would be cut
OTHERS = {"name", "data.shipped", "data.caption_extension", "data.sets.caption_extension",
          "output.base_model"}  # fmt: skip
CHECKED = {"sample.sampler"}  # takes the names of a table alone, so no path
TRAINING = Training(BaseHashes("base", "sd1", ("12345678", "ab")), Images(6), 2, 1, None, None)


def fields(schema=RunConfig, above=""):
    """(dotted name, whether it is a list) of every field that may hold a text."""
    for name, field in schema.model_fields.items():
        kinds = (field.annotation, *get_args(field.annotation))
        section = next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)
        if section is not None:
            yield from fields(section, f"{above}{name}.")
        elif "str" in str(field.annotation) and "dict[" not in str(field.annotation):
            yield f"{above}{name}", "list[" in str(field.annotation)


FIELDS = dict(fields())


def run_with(field, value):
    """A run with one field set, whatever its rules say."""
    config = parse_run({"model": {"random": "small"}, "data": {"folder": "pictures"}})
    value = [value] if FIELDS[field] else value
    section, _, name = field.rpartition(".")
    if section == "data.sets":
        image_set = ImageSet(folder="a").model_copy(update={name: value})
        return config.model_copy(update={"data": config.data.model_copy(update={"sets": [image_set]})})
    if not section:
        return config.model_copy(update={name: value})
    return config.model_copy(update={section: getattr(config, section).model_copy(update={name: value})})


def at(table, field):
    for part in field.split("."):
        table = table[part][0] if part == "sets" else table[part]
    return table[0] if FIELDS[field] else table


def test_every_field_is_known_as_a_path_or_a_text():
    texts = {f for f in FIELDS if "Literal" not in f} - PATHS - TEXTS - OTHERS - CHECKED
    assert {f for f in texts if not f.startswith(("recipe.", "train."))} == set()
    assert set(FIELDS) >= PATHS | TEXTS | OTHERS | CHECKED


@pytest.mark.parametrize("field", sorted(PATHS | OTHERS))
def test_a_path_loses_its_folders_everywhere(field):
    config = run_with(field, PATH)
    assert at(without_paths(config).model_dump(), field) == "last.bin"
    assert FOLDER not in dump(without_paths(config))
    if field != "name":  # whose rule no path fits; the file's own name is made of it
        assert FOLDER not in json.dumps(lora_metadata(config, Recipe(), TRAINING))
    text = report(RuntimeError(f"no {PATH}, and no {FOLDER}/other one"), config)
    assert FOLDER not in text
    assert "someone" not in text


@pytest.mark.parametrize("field", sorted(TEXTS))
def test_a_text_stays_as_it_is_everywhere(field):
    config = run_with(field, TEXT)
    assert at(without_paths(config).model_dump(), field) == TEXT
    assert TEXT in dump(without_paths(config))
    assert at(json.loads(lora_metadata(config, Recipe(), TRAINING)["snrlab.config"]), field) == TEXT
    assert TEXT in report(RuntimeError("no"), config)


def test_paths_of_every_system():
    names = [last_name(text) for text in (r"C:\Users\me\cats", "C:/Users/me/cats", r"\\server\share\cats", "/a/cats")]
    assert names == ["cats"] * 4
    assert [last_name(text) for text in ("cats/dogs", "a cat", "", "/", ".png")] == [
        "cats/dogs",
        "a cat",
        "",
        "/",
        ".png",
    ]


def test_a_strategy_loses_folders_too():
    text = f"log_dir='{PATH}'"
    data = {"model": {"random": "small"}, "data": {"shipped": "noto"},
            "train": {"optimizer": {"name": "custom", "path": "torch.optim:SGD", "args": "lr=1"}}}  # fmt: skip
    optimizer = without_paths(parse_run(data)).train.optimizer
    assert optimizer.params == {"path": "torch.optim:SGD", "args": "lr=1"}
    assert "someone" not in cut_paths(text, parse_run(data))
