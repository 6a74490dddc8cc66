"""What [sample], [validation], [output] and [log] change: each option against its default, in files of whole runs."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

import tiny
from effects import shows
from snrlab import UserError
from snrlab.runs.logs import read_steps, read_validation
from snrlab.train import runner


@pytest.fixture(scope="module")
def run(tiny_model, pictures, tmp_path_factory):
    """Runs with some sections: the folder each went into. Equal ones run once; no test changes what they made."""
    made = {}

    def run(**sections):
        sections = {"train": {"steps": 4, **sections.pop("train", {})}, **sections}
        key = json.dumps(sections, sort_keys=True)
        if key not in made:
            config = tiny.run_config(tiny_model, pictures, **sections)
            made[key] = runner.run(config, tmp_path_factory.mktemp("run")).folder
        return made[key]

    return run


def drawn(run, prompts=("a red cat",), **sample):
    """The run's only step of a model that is not trained far, and its pictures before that."""
    folder = run(sample={"prompts": list(prompts), "steps": 2, **sample}, train={"steps": 1})
    return [np.asarray(Image.open(f)) for f in sorted((folder.samples / "step-00000001").glob("*.png"))]


def params(folder, step=4, place=1):
    return Image.open(folder.samples / f"step-{step:08d}" / f"{place:02d}.png").info["parameters"]


@shows("sample.prompts")
def test_prompts(run):
    assert not run().samples.exists()
    one, two = drawn(run, ["a red cat", "a house"])
    assert not np.array_equal(one, two)


@shows("sample.prompts_file")
def test_prompts_file(run, tmp_path):
    (tmp_path / "lines.txt").write_text("# mine\na red cat\n\na house --w 24 --h 32\n")
    folder = run(sample={"prompts_file": str(tmp_path / "lines.txt"), "steps": 2}, train={"steps": 1})
    assert params(folder, 1, 1).startswith("a red cat\n")
    assert Image.open(folder.samples / "step-00000001" / "02.png").size == (24, 32)
    assert folder.read_config().sample.prompts == ["a red cat", "a house --w 24 --h 32"]


@shows("sample.every", "sample.every_epochs", "sample.at_start")
def test_when_pictures_are_made(run):
    def steps(**sample):
        folder = run(sample={"prompts": ["a"], "steps": 1, **sample}, train={"steps": 6})
        return [int(f.stem.removeprefix("step-")) for f in sorted(folder.samples.glob("*.png"))]

    assert steps() == [0, 6]
    assert steps(at_start=False) == [6]
    assert steps(every=2) == [0, 2, 4, 6]
    # 6 images in batches of 4: a pass is over within step 2, another within step 3, two more with step 6
    assert steps(every_epochs=1) == [0, 2, 3, 5, 6]
    assert steps(every_epochs=2) == [0, 3, 6]


@shows(
    "sample.steps", "sample.guidance", "sample.negative", "sample.seed", "sample.epsilon_scaling", "sample.sampler"
)  # fmt: skip
@pytest.mark.parametrize(
    "change",
    [
        {"steps": 3}, {"guidance": 2.0}, {"negative": "a dog"}, {"seed": 1}, {"epsilon_scaling": 1.1},
        {"sampler": "Euler a"},
    ],
)  # fmt: skip
def test_how_pictures_are_made(change, run):
    assert not np.array_equal(drawn(run)[0], drawn(run, **change)[0])


def test_a_line_says_of_its_picture_what_the_section_says_of_all(run):
    """Each flag gives the picture that the section's option gives."""
    section = {"steps": 3, "guidance": 2.0, "negative": "a dog"}
    assert np.array_equal(drawn(run, **section), drawn(run, ["a red cat --s 3 --l 2 --n a dog"]))
    assert np.array_equal(drawn(run, sampler="euler"), drawn(run, ["a red cat --ss k_euler"]))
    assert np.array_equal(drawn(run, seed=5), drawn(run, ["a red cat --d 5"]))
    same, other = drawn(run, ["a red cat --d 5"] * 2), drawn(run, ["a red cat"] * 2)
    assert np.array_equal(same[0], same[1]), "the same seed is the same noise"
    assert not np.array_equal(other[0], other[1])


def test_a_sampler_that_does_not_fit_the_recipe_is_refused_before_the_first_step(run):
    recipe = {"prediction_type": "v_prediction", "zero_terminal_snr": True}
    with pytest.raises(UserError, match="the sampler is heun, but this model's schedule ends without signal"):
        run(sample={"prompts": ["a --ss heun"], "at_start": False}, recipe=recipe, model={"convert": True})


def test_pictures_say_how_they_were_made(run):
    prompts = ["a red cat", "a house, big --n a dog --w 24 --h 32 --d 7 --l 2.5 --s 3"]
    folder = run(sample={"prompts": prompts, "steps": 2})
    assert (
        params(folder, place=1) == "a red cat\nSteps: 2, Sampler: DDIM, CFG scale: 5, Seed: 0, Size: 16x16, Model: tiny"
    )
    assert params(folder, place=2) == (
        "a house, big\nNegative prompt: a dog\n"
        "Steps: 3, Sampler: DDIM, CFG scale: 2.5, Seed: 7, Size: 24x32, Model: tiny"
    )


@shows("validation.images", "validation.every", "validation.every_epochs")
def test_when_and_on_what_is_measured(run):
    def lines(**validation):
        folder = run(validation=validation, train={"steps": 6})
        return list(read_validation(folder.validation_file)) if folder.validation_file.exists() else []

    assert lines() == []
    assert [line["step"] for line in lines(images=2)] == [0, 6]
    assert [line["step"] for line in lines(images=2, every=4)] == [0, 4, 6]
    # 4 images are left, so that a step is a pass
    assert [line["step"] for line in lines(images=2, every_epochs=3)] == [0, 3, 6]
    assert [len(lines(images=count)[0]["images"]) for count in (1, 2)] == [1, 2]


@shows("validation.folder")
def test_a_folder_to_measure_on(run, tmp_path):
    held = tiny.save_pictures(tmp_path / "other é", count=3, size=40)
    folder = run(validation={"folder": str(held)})
    first, last = read_validation(folder.validation_file)
    assert first["images"] == ["00.png", "01.png", "02.png"]
    assert first["errors"] != last["errors"]
    trained = [line["t"] for line in read_steps(folder.steps_file)]
    assert trained == [line["t"] for line in read_steps(run().steps_file)], "none of the images is held back"


def results(folder):
    return sorted(f.name for f in folder.path.glob("tiny*"))


@shows("output.every", "output.every_epochs", "output.keep_last")
def test_results_on_the_way(run):
    assert results(run(train={"steps": 6})) == ["tiny.safetensors"]
    by_step = results(run(train={"steps": 6}, output={"every": 2}))
    assert by_step == ["tiny-step00000002.safetensors", "tiny-step00000004.safetensors", "tiny.safetensors"]
    by_pass = results(run(train={"steps": 6}, output={"every_epochs": 2}))
    assert by_pass == ["tiny-step00000003.safetensors", "tiny.safetensors"]
    last = results(run(train={"steps": 6}, output={"every": 2, "keep_last": 1}))
    assert last == ["tiny-step00000004.safetensors", "tiny.safetensors"]


def test_whole_models_on_the_way(run):
    folder = run(train={"method": "full", "steps": 4}, output={"every": 1, "keep_last": 2})
    assert results(folder) == ["tiny", "tiny-step00000002", "tiny-step00000003"]
    unets = [load_file(folder.path / name / "unet" / "diffusion_pytorch_model.safetensors") for name in results(folder)]
    assert not torch.equal(unets[0]["conv_in.weight"], unets[1]["conv_in.weight"])


@shows("output.precision")
@pytest.mark.parametrize(
    ("name", "dtype"), [("fp32", torch.float32), ("fp16", torch.float16), ("bf16", torch.bfloat16)]
)
def test_precision(name, dtype, run):
    folder = run(output={"precision": name})
    assert {tensor.dtype for tensor in load_file(folder.path / "tiny.safetensors").values()} == {dtype}


def metadata(folder):
    with safe_open(folder.path / "tiny.safetensors", framework="pt") as file:
        return file.metadata()


WORDS = {
    "title": "A Title: with \"quotes\"", "author": "é", "description": "Lines\nof it.", "license": "cc-by-4.0",
    "trigger_phrase": "zork",
}  # fmt: skip


@shows(
    "output.title", "output.author", "output.description", "output.license", "output.trigger_phrase", "output.tags",
    "output.base_model", "output.model_card", "output.report",
)  # fmt: skip
def test_what_a_result_says_of_itself(run):
    plain = run(output={"model_card": True})
    described = run(output={**WORDS, "tags": ["style", "ink"], "base_model": "some/base", "model_card": True})
    before, after = metadata(plain), metadata(described)
    assert before["modelspec.title"] == "tiny"
    for name, text in WORDS.items():
        assert after[f"modelspec.{name}"] == text
        assert name == "title" or f"modelspec.{name}" not in before
    assert after["modelspec.tags"] == "style, ink"
    card = (described.path / "README.md").read_text(encoding="utf-8")
    head = card.split("---\n")[1]
    for line in ('base_model: "some/base"', 'license: "cc-by-4.0"', 'instance_prompt: "zork"', '- "ink"', '- "lora"'):
        assert line in head.splitlines()
    assert "# A Title: with" in card
    bare = (plain.path / "README.md").read_text(encoding="utf-8")
    assert not {"license", "instance_prompt"} & {line.partition(":")[0] for line in bare.splitlines()}
    assert not (plain.path / "report.html").exists()
    paged = run(output={"model_card": False, "report": True}).path
    assert (paged / "report.html").is_file()
    assert not (paged / "README.md").exists()


def test_a_whole_model_in_one_file_says_the_same(run):
    folder = run(
        train={"method": "full"}, model={"shipped": None}, output={**WORDS, "precision": "fp16", "model_card": True}
    )
    assert (folder.path / "tiny").is_dir()
    assert WORDS["description"] in (folder.path / "README.md").read_text(encoding="utf-8")


@shows("output.dates")
def test_dates(run):
    assert "seconds" not in next(read_steps(run().steps_file))
    dated = run(output={"dates": True})
    assert next(read_steps(dated.steps_file))["seconds"] >= 0
    assert "modelspec.date" in metadata(dated)


@shows("log.trackers", "log.every", "log.project")
def test_trackers(run, monkeypatch):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

    def sent(**log):
        folder = run(log={"trackers": ["tensorboard"], **log})
        events = accumulator.EventAccumulator(str(folder.logs / "tensorboard")).Reload()
        text = events.Tensors("run/text_summary")[0].tensor_proto.string_val[0].decode()
        return [event.step for event in events.Scalars("loss/weighted")], text

    assert not run().logs.exists()
    steps, _ = sent()
    assert steps == [1, 2, 3, 4]
    steps, text = sent(every=3, project="mine")
    assert steps == [3, 4]
    assert 'project = "mine"' in text
