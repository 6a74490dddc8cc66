"""validation.jsonl: what is held back, when it is measured, and that it survives a stop."""

import json

import pytest

import tiny
from snrlab import UserError
from snrlab.lab.report import change_by_band
from snrlab.runs.logs import read_validation
from snrlab.train import runner
from snrlab.train.job import prepare


def finish(config, out, **kwargs):
    return runner.run(config, out, **kwargs).folder


def config(tiny_model, pictures, **sections):
    return tiny.run_config(tiny_model, pictures, **{"validation": {"images": 2, "every": 3}, **sections})


def test_held_back_images_are_not_trained_on(tiny_model, pictures):
    job = prepare(config(tiny_model, pictures))
    assert len(job.validation_set.names) == 2
    assert len(job.examples.names) == 4
    assert not set(job.validation_set.names) & set(job.examples.names)


@pytest.fixture(scope="module")
def folder(tiny_model, pictures, tmp_path_factory):
    """Of a run of seven steps with a report."""
    whole = config(tiny_model, pictures, train={"steps": 7}, output={"report": True})
    return finish(whole, tmp_path_factory.mktemp("seven"))


def test_measured_first_on_the_way_and_last(folder):
    lines = list(read_validation(folder.validation_file))
    assert [line["step"] for line in lines] == [0, 3, 6, 7]
    for line in lines:
        for band, errors in line["errors"].items():
            assert line["bands"][band]["value"] == pytest.approx(sum(errors) / len(errors))
    first, last, change = change_by_band(lines)["SNR >= 5"]
    assert change.value == pytest.approx(last.value - first.value)
    report = folder.report.read_text()
    assert "Validation" in report
    assert str(change).replace(" ", " <small>", 1) in report


def test_each_measurement_is_paired_with_the_base_and_the_one_before(folder):
    first, *others = read_validation(folder.validation_file)
    assert not {"against_base", "against_previous"} & first.keys(), "the base has nothing to be compared with"
    before = first
    for line in others:
        for name, other in (("against_base", first), ("against_previous", before)):
            assert line[name].keys() == line["bands"].keys()
            for band, change in line[name].items():
                pairs = [a - b for a, b in zip(line["errors"][band], other["errors"][band], strict=True)]
                assert change["value"] == pytest.approx(sum(pairs) / len(pairs))
                assert min(pairs) - 1e-12 <= change["low"] <= change["value"] <= change["high"] <= max(pairs) + 1e-12
        before = line
    report = folder.report.read_text()
    assert "change since step 6" in report
    assert report.count("<figure") == 3, "validation, loss, recipe"


def test_a_resumed_run_has_the_same_validation(tiny_model, pictures, tmp_path, monkeypatch):
    whole = finish(config(tiny_model, pictures), tmp_path / "a").validation_file.read_bytes()

    def interrupted(job, done):
        for step in original(job, done):
            yield step
            if step.index == 4:  # after a measurement at 3 and a checkpoint at 4
                raise KeyboardInterrupt

    original = runner.steps
    with monkeypatch.context() as patched:
        patched.setattr(runner, "steps", interrupted)
        with pytest.raises(KeyboardInterrupt):
            finish(config(tiny_model, pictures), tmp_path / "b")
    folder = finish(config(tiny_model, pictures), tmp_path / "b", resume=True)
    assert folder.validation_file.read_bytes() == whole


def test_impossible_validations(tiny_model, pictures):
    with pytest.raises(UserError, match="only 6 images in all"):
        prepare(config(tiny_model, pictures, validation={"images": 6}))
    with pytest.raises(UserError, match="nothing to measure"):
        config(tiny_model, pictures, validation={"every": 3})


def test_without_validation_there_is_no_file(tiny_model, pictures, tmp_path):
    folder = finish(tiny.run_config(tiny_model, pictures, train={"steps": 1}, output={"report": True}), tmp_path)
    assert not folder.validation_file.exists()
    assert "Validation" not in folder.report.read_text()
    assert json.loads(folder.steps_file.read_text())["step"] == 0


def test_by_default_there_are_ten_measurements_where_they_are_cheap(tiny_model, pictures):
    section = config(tiny_model, pictures, validation={"images": 2}).validation
    assert section.in_steps(1000, 16, 2).every == 100
    assert section.in_steps(205, 16, 2).every == 21, "never more than ten"
    assert section.in_steps(200, 16, 64).every == 100, "one on the way, as dear as 256 of 3200 images"
    assert section.in_steps(7, 2, 2).every == 7, "none on the way"
    assert section.in_steps(1000, 16, 0).every is None
    for chosen in ({"every": 0}, {"every": 5}, {"every_epochs": 2}):
        own = config(tiny_model, pictures, validation={"images": 2, **chosen}).validation
        assert own.in_steps(1000, 16, 2) == own


def test_the_default_interval_is_resolved(tiny_model, pictures, tmp_path):
    default = config(tiny_model, pictures, validation={"images": 1}, train={"steps": 20}, output={"report": False})
    folder = finish(default, tmp_path)
    every = folder.read_config().validation.every
    assert every < 20
    steps = [line["step"] for line in read_validation(folder.validation_file)]
    assert steps == sorted({*range(0, 20, every), 20})
