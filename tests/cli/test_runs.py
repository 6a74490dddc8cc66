"""`snrlab runs`, `open` and `resume`, and a run folder given to `train`."""

import json
import webbrowser

import pytest

import tiny
from snrlab.train import runner


@pytest.fixture
def place(tiny_model, pictures, tmp_path, monkeypatch):
    """A folder with a finished run in `runs`, and one that was stopped after its first checkpoint."""
    monkeypatch.chdir(tmp_path)
    whole = tiny.run_config(tiny_model, pictures, name="whole", validation={"images": 1})
    runner.run(whole, tmp_path / "runs")
    stopped, original = whole.model_copy(update={"name": "stopped"}), runner.steps

    def three(job, done=0):
        for step in original(job, done):
            yield step
            if step.index == 2:
                raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(runner, "steps", three)
        with pytest.raises(KeyboardInterrupt):
            runner.run(stopped, tmp_path / "runs")
    return tmp_path


def test_the_list_of_runs(place):
    rows = {row["name"]: row for row in json.loads(tiny.snrlab("runs", "--json").stdout)}
    assert {name: (row["state"], row["done"], row["steps"]) for name, row in rows.items()} == {
        "whole": ("finished", 6, 6), "stopped": ("stopped", 3, 6)
    }  # fmt: skip
    assert rows["whole"]["loss_of"] == "validation"
    assert rows["whole"]["loss"] > 0
    assert rows["whole"]["bytes"] > 1000
    text = tiny.snrlab("runs").stdout
    assert "snrlab resume runs/stopped" in text
    assert text.index("stopped  ") < text.index("whole  "), "the newest first"
    assert tiny.snrlab("runs", "nowhere").returncode == 2


def test_resume_needs_nothing_but_the_folder(place):
    done = tiny.snrlab("resume", "stopped")
    assert done.returncode == 0, done.stderr
    one, other = place / "runs" / "whole", place / "runs" / "stopped"
    assert (one / "steps.jsonl").read_bytes() == (other / "steps.jsonl").read_bytes()
    assert "is finished" in tiny.snrlab("resume", "runs/stopped").stderr
    missing = tiny.snrlab("resume", "runs/stoped")
    assert missing.returncode == 2
    assert "Did you mean runs/stopped?" in missing.stderr


def test_resume_takes_that_folder_and_not_a_newer_run_of_the_name(place):
    (place / "runs" / "stopped").rename(place / "runs" / "whole-2")
    assert "is finished" in tiny.snrlab("resume", "runs/whole").stderr
    assert not (place / "runs" / "whole-2" / "whole-2.safetensors").exists()
    assert tiny.snrlab("resume", "runs/whole-2").returncode == 0
    assert (place / "runs" / "whole-2" / "whole-2.safetensors").exists()


def test_a_run_folder_given_to_train(place):
    unfinished = tiny.snrlab("train", "runs/stopped")
    assert unfinished.returncode == 2
    assert "To go on with it:\n  snrlab resume runs/stopped" in unfinished.stderr
    finished = tiny.snrlab("train", "runs/whole")
    assert finished.returncode == 2
    assert "snrlab train runs/whole --set name=NAME" in finished.stderr
    before = (place / "runs" / "whole" / "steps.jsonl").read_bytes()
    assert tiny.snrlab("train", "runs/whole", "--set", "name=again").returncode == 0
    assert (place / "runs" / "again" / "steps.jsonl").read_bytes() == before


def test_open_makes_the_report_and_opens_it(place, monkeypatch):
    opened = []
    monkeypatch.setenv("BROWSER", "any")
    monkeypatch.setattr(webbrowser, "open", lambda address: not opened.append(address))
    done = tiny.snrlab("open", "whole")
    report = place / "runs" / "whole" / "report.html"
    assert report.is_file()
    assert done.stdout.splitlines()[-1] == "runs/whole/report.html"
    assert opened == [report.as_uri()]
    for variable in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    assert "There is no web browser here" in tiny.snrlab("open", "whole").stdout
    assert len(opened) == 1
