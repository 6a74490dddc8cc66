"""A started run with another run file, another folder or other pictures: a clear message, and the right way on."""

import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest
import tomlkit
from PIL import Image
from safetensors.torch import load_file

import tiny
from snrlab import UserError
from snrlab.cli.training.train import refuse_copy
from snrlab.config import parse_run, read_run
from snrlab.config.run import RunConfig
from snrlab.config.sections.section import on_resume
from snrlab.runs.changes import changes
from snrlab.train import runner
from snrlab.train.loop import steps


class Died(BaseException):
    """What a kill is to a run in this process."""


def dying(stop):
    def die(job, start=0):
        for step in steps(job, start):
            yield step
            if step.index + 1 == stop:
                raise Died

    return die


def go_on(config, out, **kwargs):
    kwargs = kwargs or {"resume": True}
    with tiny.messages() as messages:
        outcome = runner.run(config, out, **kwargs)
    return outcome.folder, "\n".join(messages)


@pytest.fixture(scope="module")
def started(tiny_model, pictures, tmp_path_factory):
    """The folder of a run that died after its fourth step of six, and its run file; no report and no card."""
    data = tiny.run_dict(tiny_model, pictures, output={"report": False, "model_card": False})
    out = tmp_path_factory.mktemp("started")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "steps", dying(4))
        with pytest.raises(Died):
            runner.run(parse_run(data), out)
    return out / "tiny", data


@pytest.fixture
def stopped(started, tmp_path):
    """A folder of that run."""
    return Path(shutil.copytree(started[0], tmp_path / "runs" / "tiny"))


@pytest.fixture
def data(started, pictures, tmp_path):
    """Its run file as a table, with pictures of its own: the same ones elsewhere, which is no difference."""
    table = json.loads(json.dumps(started[1]))
    table["data"]["folder"] = str(shutil.copytree(pictures, tmp_path / "pictures"))
    return table


def changed(data, /, **sections):
    table = json.loads(json.dumps(data))
    for name, values in sections.items():
        table[name] = {**table.get(name, {}), **values} if isinstance(values, dict) else values
    return parse_run(table)


REFUSED = {
    "rate": ({"train": {"learning_rate": 1e-3}}, r"train.learning_rate  0.01 +0.001"),
    "seed": ({"seed": 4}, r"seed +3 +4"),
    "recipe": (
        {"recipe": {"weighting": ["min_snr:gamma=5"]}},
        r"recipe.weighting +none +min_snr:gamma=5",
    ),
    "rank": ({"lora": {"rank": 4}}, r"lora.rank  2 +4"),
    "batch": ({"train": {"batch_size": 2}}, r"train.batch_size  4 +2"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_decided_the_steps_so_far_is_refused_with_the_way_out(name, data, stopped):
    sections, row = REFUSED[name]
    before = {file: file.read_bytes() for file in stopped.rglob("*") if file.is_file()}
    with pytest.raises(UserError, match=row) as refused:
        go_on(changed(data, **sections), stopped.parent)
    assert "snrlab train FILE --fork NAME" in str(refused.value)
    assert {file: file.read_bytes() for file in before} == before


def test_what_may_change_does_and_is_said_and_noted(data, stopped):
    sections = {
        "train": {"steps": 8, "batch_size": 2, "gradient_accumulation": 2, "checkpoint_every": 1},
        "sample": {"prompts": ["a"], "every": 7, "steps": 2},
        "output": {"precision": "bf16"},
    }
    folder, messages = go_on(changed(data, **sections), stopped.parent)
    assert "resuming" in messages
    assert re.search(r"train.steps +6 +8\n", messages)
    assert "batch 2 x 2 accumulated instead of 4 x 1: the same global batch, the same curve to rounding" in messages
    assert "the learning rate follows the new number of steps" in messages
    assert len(folder.steps_file.read_text().splitlines()) == 8
    assert sorted(file.name for file in folder.samples.glob("*.png")) == ["step-00000007.png", "step-00000008.png"]
    assert folder.read_config() == changed(data, **sections).model_copy(update={"recipe": folder.read_config().recipe})
    noted = [json.loads(line) for line in folder.history_file.read_text().splitlines()]
    assert {"step": 4, "field": "train.steps", "before": 6, "now": 8} in noted


def test_fewer_steps_than_are_done(data, stopped):
    with pytest.raises(UserError, match=r"train.steps is 3, but .*tiny has done 4 steps"):
        go_on(changed(data, train={"steps": 3}), stopped.parent)


def test_every_field_says_whether_it_may_change_and_most_may_not():
    """A new field is fixed until its author says otherwise."""
    rules = {name: on_resume(f) for s in ("train", "lora", "recipe")
             for name, f in RunConfig.model_fields[s].annotation.model_fields.items()}  # fmt: skip
    assert {name for name, rule in rules.items() if rule == "free"} == {
        "steps", "epochs", "checkpoint_every", "gradient_checkpointing"
    }  # fmt: skip
    assert {name for name, rule in rules.items() if rule == "batch"} == {"batch_size", "gradient_accumulation"}


def test_a_fork_goes_on_from_the_checkpoint_with_the_new_values(data, stopped):
    """As a run whose rate changed at that step: the log up to there is the old one's, what follows is another's."""
    config = changed(data, train={"learning_rate": 1e-3})
    before = {file: file.read_bytes() for file in stopped.rglob("*") if file.is_file()}
    folder, messages = go_on(config, stopped.parent, fork="lower")
    assert folder.path.name == "lower"
    assert {file: file.read_bytes() for file in before} == before, "the old run is as it was"
    assert "forked" in messages
    assert re.search(r"train.learning_rate +0.01 +0.001\n", messages)
    text = folder.config_file.read_text()
    assert text.startswith("# Forked from tiny after step 4.\n")
    assert tomllib.loads(text)["name"] == "lower"
    assert json.loads(folder.history_file.read_text().splitlines()[0]) == {"step": 4, "forked_from": "tiny"}
    lines = [json.loads(line) for line in folder.steps_file.read_text().splitlines()]
    assert lines[:4] == [json.loads(line) for line in (stopped / "steps.jsonl").read_text().splitlines()]
    rest, _ = go_on(parse_run(data), stopped.parent)
    straight = [json.loads(line) for line in rest.steps_file.read_text().splitlines()]
    assert lines[4]["loss"] == straight[4]["loss"], "the same weights and draws"
    assert lines[4]["lr"] == pytest.approx(straight[4]["lr"] / 10)
    assert lines[5]["loss"] != straight[5]["loss"]
    assert (folder.path / "lower.safetensors").is_file()


FORKS = {
    "no such run": ({"name": "other"}, "new", "no run .*other to start from"),
    "a name that is taken": ({}, "tiny", "already exists"),
    "no name": ({}, "a/b", "name is 'a/b'"),
    "nothing left": ({"train": {"steps": 4}}, "new", "nothing to train"),
    "another rank": ({"lora": {"rank": 4}}, "new", "another trained weights"),
    "another optimizer": ({"train": {"optimizer": "adafactor"}}, "new", "another optimizer"),
    "an average": ({"train": {"ema": 0.9}}, "new", r"another an average of the weights \(train.ema\)"),
}


@pytest.mark.parametrize("name", FORKS)
def test_impossible_forks_leave_nothing(name, data, stopped):
    sections, fork, message = FORKS[name]
    with pytest.raises(UserError, match=message):
        go_on(changed(data, **sections), stopped.parent, fork=fork)
    assert [path.name for path in stopped.parent.iterdir()] == ["tiny"]


def test_a_moved_dataset(data, stopped, tmp_path):
    """The same pictures elsewhere are the same; where they are is asked for, not guessed."""
    (tmp_path / "pictures").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"data.folder: .* does not exist any more.*\n?.*--set data.folder"):
        go_on(parse_run(data), stopped.parent)
    _, messages = go_on(changed(data, data={"folder": str(tmp_path / "elsewhere")}), stopped.parent)
    assert "data.folder" in messages
    assert "resuming" in messages


def test_a_moved_model(data, stopped, tmp_path):
    model = shutil.copytree(data["model"]["path"], tmp_path / "model")
    _, messages = go_on(changed(data, model={"path": str(model)}), stopped.parent)
    assert "model.path" in messages
    assert "resuming" in messages


def add(folder):
    shutil.copy(folder / "01.png", folder / "99.png")
    shutil.copy(folder / "01.txt", folder / "99.txt")


def edit(folder):
    with Image.open(folder / "03.png") as image:
        turned = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    turned.save(folder / "03.png")


def another_model(data):
    model = tiny.save_model(Path(data["data"]["folder"]).parent / "other", "epsilon", beta_end=0.02)
    file = model / "unet" / "diffusion_pytorch_model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-4] + b"\0\0\0\0")
    data["model"]["path"] = str(model)


CONTENTS = {
    "edited": (edit, "images that changed: 03.png"),
    "deleted": (lambda folder: (folder / "02.png").unlink(), "images that are missing: 02.png"),
    "added": (add, "images that are new: 99.png"),
    "caption": (lambda folder: (folder / "05.txt").write_text("other"), "images whose captions changed: 05.png"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_pictures_that_changed_since_the_start_are_named(name, data, stopped):
    change, message = CONTENTS[name]
    change(Path(data["data"]["folder"]))
    with pytest.raises(UserError, match=message) as refused:
        go_on(parse_run(data), stopped.parent)
    assert "Put them back" in str(refused.value)
    assert "--fork NAME" in str(refused.value)


def test_a_fork_takes_what_is_there_now(data, stopped):
    edit(Path(data["data"]["folder"]))
    folder, _ = go_on(parse_run(data), stopped.parent, fork="forked")
    assert (folder.path / "forked.safetensors").is_file()
    assert folder.sources_file.read_bytes() != (stopped / "sources.json").read_bytes()


def test_another_model_under_the_same_name(data, stopped):
    another_model(data)
    with pytest.raises(UserError, match="the model is a different one"):
        go_on(parse_run(data), stopped.parent)


def test_pictures_that_were_only_touched_are_the_same(data, stopped):
    for file in Path(data["data"]["folder"]).iterdir():
        file.touch()
    assert "resuming" in go_on(parse_run(data), stopped.parent)[1]


def test_a_copied_run_folder(data, stopped, tmp_path):
    """It goes on under its own name, and only where that is what is asked for."""
    copy = shutil.copytree(stopped, stopped.parent / "copy")
    config = read_run(copy / "run.toml")
    with pytest.raises(UserError, match=r"copy is a copy of the run tiny(.|\n)*snrlab resume .*copy$"):
        refuse_copy(copy / "run.toml", stopped.parent, config)
    folder, messages = go_on(read_run(copy / "run.toml", ['name="copy"']), stopped.parent)
    assert folder.path == copy
    assert "is a copy of the run tiny" in messages
    other = shutil.copytree(stopped, tmp_path / "other place" / "tiny")
    other_folder, _ = go_on(read_run(other / "run.toml"), other.parent)
    one, two = load_file(copy / "copy.safetensors"), load_file(other_folder.path / "tiny.safetensors")
    assert all((one[name] == two[name]).all() for name in two)


def test_the_same_command_twice(data, stopped, tmp_path):
    """Unfinished: --resume is asked for. Finished: with --resume nothing is done, more steps are a fork."""
    config = parse_run(data)
    with pytest.raises(UserError, match=r"holds an unfinished run\. To go on with it:"):
        runner.run(config, stopped.parent)
    folder, _ = go_on(config, stopped.parent)
    assert folder.finished
    assert "is finished. To train it longer" in go_on(config, stopped.parent)[1]
    more, _ = go_on(changed(data, train={"steps": 7}), stopped.parent, fork="more")
    assert len(more.steps_file.read_text().splitlines()) == 7
    with tiny.messages() as lines, pytest.raises(UserError, match="only 6 images") as refused:
        runner.run(changed(data, train={"batch_size": 7}), stopped.parent)
    assert lines == [f"{folder.path} already exists and stays as it is; this run goes into {folder.path}-2"], refused


def test_changes_are_compared_as_they_are_written(tiny_model, pictures):
    """A strategy as text and as a table are the same, and so are defaults and the same stated."""
    data = tiny.run_dict(tiny_model, pictures, recipe={"weighting": ["min_snr:gamma=5"]})
    other = json.loads(json.dumps(data))
    other["recipe"]["weighting"] = [{"name": "min_snr", "gamma": 5.0}]
    other["train"]["warmup"] = 0
    assert changes(parse_run(data), parse_run(tomllib.loads(tomlkit.dumps(other)))) == []
