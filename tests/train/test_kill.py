"""SIGKILL and Ctrl-C of the command: the next --resume goes on, and ends with the same bytes.

Six kills here, of processes forked from one that has imported torch; `make soak` does a hundred, of `python -m snrlab`
and over more kinds of runs.
"""

import json
import os
import signal
import time

import pytest
import tomlkit

import forked
import tiny
from test_scripts import script

pytestmark = [
    pytest.mark.slow,
    pytest.mark.numeric,
    pytest.mark.skipif(os.name != "posix", reason="kills with SIGKILL"),
]
soak = script("soak")
lines = script("soak_runs").lines
SEED = "3"  # by which every kind of moment is chosen


def started(kind, run, place):
    """As the soak starts a run, but forked."""
    assert kind.processes == 1
    place.out.mkdir(parents=True, exist_ok=True)
    return forked.Command(["train", str(run), "--out", str(place.out), "--resume"], place.out / "output.txt")


@pytest.fixture
def small(tiny_model, monkeypatch):
    """The kinds of runs of the soak, on a smaller model."""
    monkeypatch.setattr(soak, "started", started)
    monkeypatch.setitem(soak.RUN, "model", {"path": str(tiny_model)})
    monkeypatch.setitem(soak.RUN, "output", soak.RUN["output"] | {"report": False})
    monkeypatch.setattr(soak, "PICTURES", 8)
    monkeypatch.setitem(soak.RUN, "train", soak.RUN["train"] | {"steps": 30})
    monkeypatch.setitem(soak.RUN, "sample", soak.RUN["sample"] | {"prompts": ["a"], "steps": 1})
    monkeypatch.delitem(soak.RUN, "validation")
    monkeypatch.setattr(soak, "KILLS_IN_A_ROUND", 6)


@pytest.mark.long
def test_six_kills(small, tmp_path):
    """While caching and training, in the middle of a checkpoint, a picture and a result."""
    log = tmp_path / "soak.log"
    arguments = ["--state", str(tmp_path), "--kinds", "cached", "--seed", SEED, "--log", str(log), "--kills", "6"]
    assert soak.main(arguments) == 0, log.read_text()
    tally = json.loads(next(tmp_path.glob("tally-*.json")).read_text())
    assert sum(tally["kills"].values()) == 6
    assert len(tally["kills"]) == 5, "at each kind of moment"
    assert sum(tally["halves"].values()) >= 2, "some of them in the middle of a write"
    assert "6 exact resumes" in log.read_text()


def test_the_soak_sees_what_is_wrong(tmp_path):
    """A byte that differs, a file too many, a file that lacks."""
    for name in ("whole", "other"):
        (tmp_path / name).mkdir()
        for file in ("a", "b", "c"):
            (tmp_path / name / file).write_bytes(b"same")
    assert soak.differences(tmp_path / "whole", tmp_path / "other") == []
    (tmp_path / "other" / "a").write_bytes(b"sane")
    (tmp_path / "other" / "b").unlink()
    (tmp_path / "other" / "d").write_bytes(b"")
    assert soak.differences(tmp_path / "whole", tmp_path / "other") == ["a", "b", "d"]


def test_ctrl_c_saves_and_stops(tiny_model, pictures, tmp_path):
    run = tmp_path / "run.toml"
    run.write_text(tomlkit.dumps(tiny.run_dict(tiny_model, pictures, train={"steps": 400})))
    place = soak.Place(tmp_path / "out", tmp_path / "cache")
    kind = soak.Kind({})
    log, output = place.out / "tiny" / "steps.jsonl", place.out / "output.txt"
    process = started(kind, run, place)
    while process.poll() is None and lines(log) < 10:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    text = output.read_text()
    assert "snrlab resume" in text
    assert "Traceback" not in text
    done = lines(log)
    assert (place.out / "tiny" / "checkpoints" / f"step-{done:08d}.safetensors").is_file()
