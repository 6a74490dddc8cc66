"""What an optimizer asks of the settings around it, where other trainers do not ask."""

from __future__ import annotations

from dataclasses import replace

from snrlab.config.run_file_text import Line
from snrlab.config.sections.train import ADAPTIVE_RATE
from snrlab.core.registries.tensor_registries import OPTIMIZERS, loaded
from snrlab.peers.conversion import Conversion, Dropped

_RATES = tuple(f"train.{part}_learning_rate" for part in ("unet", "text_encoder", "text_encoder_2"))


def _one_rate(transfer: Conversion, name: str) -> None:
    """Leave out rates of single networks that are not the rate of all, where the optimizer takes one."""
    of_all = next((line.value for line in reversed(transfer.lines) if line.name == "train.learning_rate"), None)
    other = [line for line in transfer.lines if line.name in _RATES and line.value != of_all]
    transfer.lines[:] = [line for line in transfer.lines if line not in other]
    why = f"{name} takes one rate for all networks, train.learning_rate"
    transfer.left += [Dropped(line.said, why, names=line.options) for line in other if line.said]


def fit_to_optimizer(transfer: Conversion) -> None:
    """A rate for an optimizer that finds it, and no schedule for one that needs none."""
    lines = {line.name: line for line in transfer.lines}
    chosen = lines.get("train.optimizer")
    name = chosen.value["name"] if chosen else "adamw"
    optimizer = loaded(OPTIMIZERS, name).properties
    rate = lines.get("train.learning_rate")
    if optimizer.finds_rate and (rate is None or rate.value < ADAPTIVE_RATE):
        stated = f" The rate that is stated, {rate.value:g}, would all but stop it." if rate else ""
        why = f"{name} finds the rate itself, and this multiplies it.{stated}"
        transfer.lines.append(replace(rate or Line("train.learning_rate", 1.0), value=1.0, why=why))
    if optimizer.one_rate:
        _one_rate(transfer, name)
    schedule = lines.get("train.lr_schedule")
    if optimizer.own_schedule and (schedule is None or schedule.value["name"] != "constant"):
        why = f"{name} averages the weights in place of a schedule."
        constant = {"name": "constant"}
        transfer.lines.append(replace(schedule or Line("train.lr_schedule", constant), value=constant, why=why))
