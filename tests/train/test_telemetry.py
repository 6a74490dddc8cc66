"""The display of a run in a terminal."""

import pytest
import torch

from snrlab.train.loop import Step
from snrlab.train.outputs.telemetry import Display


@pytest.fixture
def display(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # stderr is a terminal as far as the display knows
    display = Display(3, 0, say=lambda text: None)
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


def test_what_follows_a_step_is_said_until_the_next(display, capsys):
    def facts():
        return display._bar.tasks[0].fields["facts"]

    display.update(step(0))
    assert facts().startswith("loss 0.2500  lr 1.0e-04")
    display.between_steps()
    assert facts() == "measuring, drawing or saving ..."
    display.update(step(1))
    assert facts().startswith("loss 0.2500")
