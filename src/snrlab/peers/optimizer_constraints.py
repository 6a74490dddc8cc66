"""Constraints of an optimizer on learning rates and schedule, which other trainers do not enforce."""

from __future__ import annotations

from dataclasses import replace

from snrlab.config.run_file_text import Line
from snrlab.config.sections.train import MIN_RATE_MULTIPLIER
from snrlab.core.registries.tensor_registries import OPTIMIZERS, load_entry
from snrlab.peers.conversion import Conversion, Dropped

_RATES = tuple(f"train.{part}_learning_rate" for part in ("unet", "text_encoder", "text_encoder_2"))


def _drop_separate_rates(conversion: Conversion, name: str) -> None:
    """Drop the rates of single networks that differ from train.learning_rate; the optimizer takes one rate."""
    common_rate = next((line.value for line in reversed(conversion.lines) if line.field == "train.learning_rate"), None)
    other = [line for line in conversion.lines if line.field in _RATES and line.value != common_rate]
    conversion.lines[:] = [line for line in conversion.lines if line not in other]
    reason = f"{name} takes one rate for all networks, train.learning_rate"
    conversion.dropped += [Dropped(line.origin, reason, names=line.options) for line in other if line.origin]


def fit_to_optimizer(conversion: Conversion) -> None:
    """Correct rate and schedule: rate 1 for an optimizer that finds it, constant for one that has its own schedule."""
    lines = {line.field: line for line in conversion.lines}
    chosen = lines.get("train.optimizer")
    name = chosen.value["name"] if chosen else "adamw"
    optimizer = load_entry(OPTIMIZERS, name).properties
    rate = lines.get("train.learning_rate")
    if optimizer.finds_rate and (rate is None or rate.value < MIN_RATE_MULTIPLIER):
        too_low = f" The rate that is stated, {rate.value:g}, would all but stop it." if rate else ""
        reason = f"{name} finds the rate itself, and this multiplies it.{too_low}"
        conversion.lines.append(replace(rate or Line("train.learning_rate", 1.0), value=1.0, reason=reason))
    if optimizer.one_rate:
        _drop_separate_rates(conversion, name)
    schedule = lines.get("train.lr_schedule")
    if optimizer.own_schedule and (schedule is None or schedule.value["name"] != "constant"):
        reason = f"{name} averages the weights in place of a schedule."
        constant = {"name": "constant"}
        conversion.lines.append(replace(schedule or Line("train.lr_schedule", constant), value=constant, reason=reason))
