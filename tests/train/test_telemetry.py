"""The display of a run in a terminal."""

import os
import re
import signal
import time

import pytest

import tiny
from snrlab.config import dump
from snrlab.train import runner
from snrlab.train.outputs import milestones
from snrlab.train.outputs.telemetry import Figures, fitting
from snrlab.train.resume import checkpoint

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a pseudo-terminal is of POSIX systems")
STEPS, DUE, PAUSE = 6, 3, 0.06
WIDTHS = (100, 60)


def slowly(function, seconds=PAUSE):
    def slow(*args, **kwargs):
        time.sleep(seconds)
        return function(*args, **kwargs)

    return slow


def take_a_while():
    """Steps, checkpoints, validations and pictures that last long enough to be seen."""
    original = runner.steps

    def slow_steps(*args):
        for step in original(*args):
            time.sleep(PAUSE)
            yield step

    runner.steps = slow_steps
    checkpoint.save_checkpoint = slowly(checkpoint.save_checkpoint)
    milestones.validate = slowly(milestones.validate)
    milestones.draw_samples = slowly(milestones.draw_samples)


@pytest.fixture(scope="module")
def run_file(tiny_model, pictures, tmp_path_factory):
    config = tiny.run_config(
        tiny_model, pictures, train={"steps": STEPS, "checkpoint_every": DUE}, validation={"images": 1, "every": DUE},
        sample={"prompts": ["a"], "every": DUE, "steps": 1}, output={"every": DUE},
    )  # fmt: skip
    file = tmp_path_factory.mktemp("run") / "run.toml"
    file.write_text(dump(config))
    return file


@pytest.mark.parametrize("width", WIDTHS)
def test_in_a_terminal_every_step_shows_its_figures(width, run_file, tmp_path):
    """Through a run with checkpoints, validation, pictures and results, whose log lines stand above the live line."""
    terminal = pytest.importorskip("terminal")
    text, code = terminal.in_a_terminal(
        ["train", str(run_file), "--out", str(tmp_path), "--verbose"], width, take_a_while
    )
    screen = terminal.Screen(text, width)
    assert code == 0, text
    shown = {int(m[1]): m[2] for frame in screen.frames if (m := re.match(rf"(\d+)/{STEPS} +(.*loss.*)", frame))}
    assert shown.keys() == set(range(1, STEPS + 1))
    figures = r"loss \d+\.\d{4}  (lr \S+  )?[\d.]+ it/s  (RAM|GPU) [\d.]+ [MG]B  \d+:\d\d left$"
    assert all(re.search(figures, facts) for facts in shown.values()), shown
    between = [frame for frame in screen.frames if re.match(rf"{DUE}/", frame) and frame.endswith(" ...")]
    for activity in ("saving a checkpoint", "validating", "drawing samples", "saving the result"):
        assert any(frame.endswith(f" {activity} ...") for frame in between), activity
    assert all(len(frame) < width for frame in screen.frames if "it/s" in frame)
    assert_nothing_is_broken(screen, text, tmp_path)


def assert_nothing_is_broken(screen, text, out):
    """What is logged stands whole: no line holds a part of the live line, and no path is cut by a line break."""
    bars = [line for line in screen.lines if re.match(rf"\d/{STEPS} ", line)]
    assert len(bars) == 1, bars
    assert not [line for line in screen.lines if "it/s" in line and line not in bars]
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert re.search(rf"wrote\s+{re.escape(str(out))}/tiny/checkpoints/step-0*{DUE}.safetensors:", plain)


def test_ctrl_c_stands_on_a_line_of_its_own(run_file, tmp_path):
    terminal = pytest.importorskip("terminal")
    asked = []

    def press(process, text):
        if not asked and f"2/{STEPS}" in text:
            asked.append(os.kill(process.pid, signal.SIGINT))

    text, code = terminal.in_a_terminal(["train", str(run_file), "--out", str(tmp_path)], 60, take_a_while, press)
    lines = [line.rstrip() for line in terminal.Screen(text, 60).lines]
    assert code == 130
    assert "Stopping after this step, and saving." in lines
    assert any(re.match(r"Stopped after step \d\. To go on:", line) for line in lines), lines


def test_the_live_line_fits():
    """At every width, and with everything that it shows down to where that has no room."""
    figures = Figures(0.25, 1e-4, 0.254, "RAM 12.3 GB", 3723)
    forms, count = [figures.texts(), figures.texts(rate=False)], "1200/24000"
    for room in range(60, 200):
        text, width = fitting(count, forms, room)
        assert len(count) + 2 + len(text) + (width + 2 if width else 0) <= room
        assert all(part in text for part in forms[1])
    assert "lr" in text
