"""Learning-rate schedules in kohya's words, both ways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snrlab.config.run import RunConfig
from snrlab.peers.conversion import Left, Transfer

RESTARTS = "cosine_with_restarts"
WARMED = "constant_with_warmup"  # its name for constant with a warm-up
KNOWN_SCHEDULES = ("constant", WARMED, "linear", "cosine", RESTARTS, "cosine_with_min_lr", "polynomial",
                   "inverse_sqrt", "warmup_stable_decay", "piecewise_constant")  # fmt: skip
SCHEDULE_PARAMETERS: Mapping[str, tuple[tuple[str, ...], str, type]] = {
    "lr_scheduler_num_cycles": ((RESTARTS, "cosine_with_min_lr", "warmup_stable_decay"), "cycles", int),
    "lr_scheduler_power": (("polynomial",), "power", float),
    "lr_scheduler_timescale": (("inverse_sqrt",), "timescale", int),
    "lr_scheduler_min_lr_ratio": (("cosine_with_min_lr", "warmup_stable_decay"), "min_ratio", float),
}


def schedule(transfer: Transfer) -> None:
    """train.lr_schedule and train.warmup."""
    name = str(transfer.value("lr_scheduler"))
    if transfer.has("lr_scheduler_type"):
        name = _of_class(str(transfer.value("lr_scheduler_type")), name)
        transfer.leave("lr_scheduler_type", f"classes of other libraries are not loaded; {name} is written instead")
        transfer.leave("lr_scheduler_args", "they are of lr_scheduler_type, which is not loaded")
        transfer.take("lr_scheduler")
    found: dict[str, Any] = {"name": "constant" if name == WARMED else name}
    used = ["lr_scheduler"]
    for option, (schedules, parameter, kind) in SCHEDULE_PARAMETERS.items():
        if name in schedules and (transfer.has(option) or (option, name) == ("lr_scheduler_num_cycles", RESTARTS)):
            found[parameter] = kind(transfer.value(option))
            used.append(option)
    _decay(transfer, name, found, used)
    rules = transfer.stated.get("lr_scheduler_args")
    if name == "piecewise_constant" and rules:
        text = str(rules[0] if isinstance(rules, list) else rules).partition("=")[2].strip("'\" ")
        found["rules"] = text
        used.append("lr_scheduler_args")
    why = ""
    if name.startswith("adafactor") or name == "reduce_lr_on_plateau" or name not in KNOWN_SCHEDULES:
        why = f"kohya's {name} has no counterpart here; the rate stays as it is."
        found = {"name": "constant"}
    transfer.put("train.lr_schedule", found, *used, why=why)
    for option in (*SCHEDULE_PARAMETERS, "lr_decay_steps"):
        if option not in used:
            transfer.leave(option, f"{name} does not read it", grade="idle")
    if "lr_scheduler_args" not in used:
        transfer.leave("lr_scheduler_args", f"arguments of {name} by kohya's names, which are not known here")
    warmup = transfer.value("lr_warmup_steps")
    transfer.put("train.warmup", warmup if warmup else 0, "lr_warmup_steps")


def _of_class(kind: str, stated: str) -> str:
    """The schedule that is like a class of torch's, else the one that is stated besides."""
    name = kind.rpartition(".")[2]
    if name.startswith("CosineAnnealing"):
        return RESTARTS if "Restarts" in name else "cosine"
    return {"ConstantLR": "constant", "LinearLR": "linear", "PolynomialLR": "polynomial"}.get(name, stated)


def _decay(transfer: Transfer, name: str, found: dict[str, Any], used: list[str]) -> None:
    decay = transfer.value("lr_decay_steps")
    if name != "warmup_stable_decay" or not decay:
        return
    total = transfer.value("max_train_steps")
    if isinstance(decay, str) and decay.endswith("%"):
        decay = float(decay[:-1]) / 100
    if isinstance(decay, int) and transfer.has("max_train_epochs"):
        transfer.leave("lr_decay_steps", "here it is a part of the run, and the length in epochs does not say which")
        return
    found["decay"] = min(1.0, decay / total) if isinstance(decay, int) else decay
    used.append("lr_decay_steps")


def schedule_back(config: RunConfig, left: list[Left]) -> dict[str, Any]:
    """The schedule and its warm-up in kohya's words; what has none is added to `left`."""
    choice = config.train.lr_schedule
    warmup = config.train.warmup
    name = choice.name
    if name == "constant" and warmup:
        name = WARMED
    if name not in KNOWN_SCHEDULES:
        left.append(Left(f"train.lr_schedule = {choice.spec}", "kohya has no such schedule"))
        return {"lr_warmup_steps": warmup}
    options: dict[str, Any] = {"lr_scheduler": name, "lr_warmup_steps": warmup}
    params = choice.params
    for option, (schedules, parameter, _) in SCHEDULE_PARAMETERS.items():
        if name in schedules and params.get(parameter) is not None:
            options[option] = params[parameter]
    if name == "warmup_stable_decay":
        options["lr_decay_steps"] = params["decay"]
    if name == "piecewise_constant":
        options["lr_scheduler_args"] = [f"step_rules='{params['rules']}'"]
    if name == "polynomial" and params["end"]:
        left.append(Left(f"end = {params['end']:g} of train.lr_schedule", "kohya's ends at a rate of 1e-7"))
    return options
