"""The display of a run in a terminal."""

import os
import re
import select
import sys
import time

import pytest
import torch

import forked
import tiny
from snrlab.cli import main
from snrlab.config import dump
from snrlab.train import runner
from snrlab.train.loop import Step
from snrlab.train.outputs.telemetry import Display
from snrlab.train.resume import checkpoint


@pytest.fixture
def display(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # stderr is a terminal as far as the display knows
    with tiny.messages():  # of the level info, without which there is no bar
        display = Display(3, 0)
        yield display
        display.close()


def step(index):
    one = torch.ones(1)
    return Step(
        index=index,
        epoch=0,
        timesteps=one.long(),
        mse=one,
        weight=one,
        losses=one,
        loss=0.25,
        grad_norm=1.0,
        learning_rate=1e-4,
    )


def test_due_work_is_shown_while_it_lasts(display, capsys):
    def facts():
        return display._bar.tasks[0].fields["facts"]

    display.update(step(0))
    assert facts().startswith("loss 0.2500  lr 1.0e-04")
    with display.between_steps():
        assert facts() == "measuring, drawing or saving ..."
    assert facts().startswith("loss 0.2500  lr 1.0e-04")


STEPS, SAVED, PAUSE = 8, 4, 0.25


def train_in_a_terminal(run, out, terminal):
    """The command with its streams on a terminal, with steps and checkpoints that take a while."""
    os.environ |= {"COLUMNS": "400", "TERM": "xterm"}  # no path is wrapped
    file = os.open(terminal, os.O_RDWR | os.O_NOCTTY)
    for stream in (1, 2):
        os.dup2(file, stream)
    original, save = runner.steps, checkpoint.save_checkpoint

    def slow_steps(*args):
        for step in original(*args):
            time.sleep(PAUSE)
            yield step

    def slow_save(*args):
        time.sleep(2 * PAUSE)
        return save(*args)

    runner.steps, checkpoint.save_checkpoint = slow_steps, slow_save
    sys.argv = ["snrlab", "train", str(run), "--out", str(out), "--verbose"]
    main()


def printed_by(process, master):
    """All that a process writes to its terminal until it ends."""
    text = b""
    while True:
        alive = process.is_alive()  # before the look: what it wrote last is read too
        if select.select([master], [], [], 0.1)[0]:
            text += os.read(master, 2**16)
        elif not alive:
            return text.decode(errors="replace")


@pytest.mark.skipif(os.name != "posix", reason="a pseudo-terminal is of POSIX systems")
def test_in_a_terminal_every_step_shows_its_figures(tiny_model, pictures, tmp_path):
    """Loss and rate stand in the line from the first step to the last, but for the while that work is due."""
    config = tiny.run_config(tiny_model, pictures, train={"steps": STEPS, "checkpoint_every": SAVED})
    (tmp_path / "run.toml").write_text(dump(config))
    master, slave = os.openpty()
    process = forked.server().Process(
        target=train_in_a_terminal, args=(tmp_path / "run.toml", tmp_path / "runs", os.ttyname(slave))
    )
    process.start()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", printed_by(process, master))
    for end in (master, slave):
        os.close(end)
    assert process.exitcode == 0, text
    frames = [(int(match[1]), match[2]) for match in re.finditer(rf" (\d+)/{STEPS} ([^\r\n]*)", text)]
    between = [(done, shown) for done, shown in frames if 0 < done < STEPS]
    figures = [done for done, shown in between if "loss" in shown and "it/s" in shown]
    waiting = {done for done, shown in between if "measuring" in shown}
    assert set(figures) == set(range(1, STEPS))
    assert len(figures) > len(between) / 2
    assert waiting == {SAVED}
    assert re.search(r"[\r\n]wrote .*step-", text), "what is logged meanwhile stands above the bar"
