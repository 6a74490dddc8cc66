"""Import and export of kohya's optimizer and learning rate schedule."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from snrlab.config.run import RunConfig
from snrlab.core.registries.tensor_registries import OPTIMIZERS, default_choice
from snrlab.peers.conversion import Conversion, Dropped, shown

_OPTIMIZER_NAMES = {
    "": "adamw", "adamw": "adamw", "adamw8bit": "adamw8bit", "pagedadamw8bit": "paged_adamw8bit", "lion": "lion",
    "prodigy": "prodigy", "adafactor": "adafactor", "adamwschedulefree": "schedule_free",
}  # fmt: skip
KOHYAS_NAMES = {"adamw": "AdamW", "adamw8bit": "AdamW8bit", "paged_adamw8bit": "PagedAdamW8bit", "lion": "Lion",
                "prodigy": "Prodigy", "adafactor": "Adafactor", "schedule_free": "AdamWScheduleFree"}  # fmt: skip
# kohya's names of optimizers that snrlab takes by their class: path of the class, and arguments that kohya adds
_CLASSES = {
    "sgdnesterov": ("torch.optim:SGD", {"nesterov": True, "momentum": 0.9}),
    "sgdnesterov8bit": ("bitsandbytes.optim:SGD8bit", {"nesterov": True, "momentum": 0.9}),
    "lion8bit": ("bitsandbytes.optim:Lion8bit", {}), "pagedlion8bit": ("bitsandbytes.optim:PagedLion8bit", {}),
    "pagedadamw": ("bitsandbytes.optim:PagedAdamW", {}), "pagedadamw32bit": ("bitsandbytes.optim:PagedAdamW32bit", {}),
    "dadaptation": ("dadaptation.experimental:DAdaptAdamPreprint", {}),
    "dadaptadampreprint": ("dadaptation.experimental:DAdaptAdamPreprint", {}),
    "dadaptadam": ("dadaptation:DAdaptAdam", {}), "dadaptadagrad": ("dadaptation:DAdaptAdaGrad", {}),
    "dadaptadan": ("dadaptation:DAdaptAdan", {}), "dadaptlion": ("dadaptation:DAdaptLion", {}),
    "dadaptsgd": ("dadaptation:DAdaptSGD", {}),
    "radamschedulefree": ("schedulefree:RAdamScheduleFree", {}),
    "sgdschedulefree": ("schedulefree:SGDScheduleFree", {}),
}  # fmt: skip
# defaults of the packages' own optimizers, where ours differ
THEIR_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "prodigy": {"weight_decay": 0.0, "use_bias_correction": False, "safeguard_warmup": False},
    "adafactor": {"scale_parameter": True}, "schedule_free": {"weight_decay": 0.0},
}  # fmt: skip
_ALWAYS_SO = {"decouple": True, "relative_step": False, "warmup_init": False, "foreach": False, "slice_p": 1}


def import_optimizer(conversion: Conversion) -> None:
    """Import train.optimizer from kohya's name and arguments."""
    names = ("optimizer_type", "optimizer_args")
    kind = str(conversion.value("optimizer_type") or "")
    for old, new in (("use_8bit_adam", "adamw8bit"), ("use_lion_optimizer", "lion")):
        if conversion.value(old) is True and not kind:
            kind, names = new, (old, "optimizer_args")
        conversion.mark_used(old)
    given = conversion.options.get("optimizer_args")
    arguments = {k: _literal(_literal(v)) for k, v in given.items()} if isinstance(given, Mapping) else {}
    plain = kind.rpartition(".")[2].lower()
    name = _OPTIMIZER_NAMES.get(kind.lower(), _OPTIMIZER_NAMES.get(plain, "custom"))
    if name == "custom":
        path, extra = _CLASSES.get(kind.lower(), (_class_path(kind), {}))
        text = ", ".join(f"{k}={v!r}" for k, v in {**extra, **arguments}.items())
        value: dict[str, Any] = {"name": name, "path": path} | ({"args": text} if text else {})
        conversion.set(
            "train.optimizer",
            value,
            *names,
            reason="An optimizer of another package by its class; that package has to be installed.",
        )
        return
    value = {"name": name, **THEIR_DEFAULTS.get(name, {}), **_known_arguments(conversion, name, arguments)}
    unstated = [key for key in THEIR_DEFAULTS.get(name, {}) if key not in arguments]
    reason = f"Not stated, and so the program's own default: {', '.join(unstated)}." if unstated else ""
    conversion.set("train.optimizer", value, *names, reason=reason)


def _known_arguments(conversion: Conversion, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that our optimizer has as parameters; the others are dropped."""
    parameters = default_choice(OPTIMIZERS, name).entry.parameters
    known: dict[str, Any] = {}
    for key, value in arguments.items():
        if key == "betas" and isinstance(value, tuple | list) and len(value) == 2 and "beta1" in parameters:
            known |= {"beta1": float(value[0]), "beta2": float(value[1])}
        elif key in parameters:
            whole = float in parameters[key].types and isinstance(value, int) and not isinstance(value, bool)
            known[key] = float(value) if whole else value
        elif _ALWAYS_SO.get(key) == value:
            conversion.dropped.append(Dropped(f"optimizer_args: {key} = {shown(value)}", "always so here", "harmless"))
        elif key in ("relative_step", "warmup_init"):
            reason = "Adafactor goes by learning_rate here, never by a step size of its own"
            conversion.dropped.append(Dropped(f"optimizer_args: {key} = {shown(value)}", reason))
        else:
            text = shown(value if not isinstance(value, tuple) else list(value))
            conversion.dropped.append(Dropped(f"optimizer_args: {key} = {text}", f"{name} has no such parameter here"))
    return known


def _literal(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return ast.literal_eval(value)
        except (ValueError, SyntaxError):
            return value
    return value


def _class_path(kind: str) -> str:
    module, _, name = kind.rpartition(".")
    return f"{module or 'torch.optim'}:{name}"


def export_optimizer(config: RunConfig, dropped: list[Dropped]) -> dict[str, Any]:
    """Export the optimizer and its arguments; what has no counterpart is added to `dropped`."""
    choice = config.train.optimizer
    if choice.name == "custom":
        arguments = choice.params["args"]
        path = choice.params["path"].replace(":", ".")
        by_path = {ours: theirs for theirs, (ours, extra) in _CLASSES.items() if not extra}
        return {"optimizer_type": by_path.get(choice.params["path"], path),
                "optimizer_args": _split(arguments)}  # fmt: skip
    if choice.name not in KOHYAS_NAMES:
        dropped.append(Dropped(f"train.optimizer = {choice.spec}", "kohya has no such optimizer"))
        return {}
    defaults = {**choice.entry.bind().params, **THEIR_DEFAULTS.get(choice.name, {})}
    changed = {key: value for key, value in choice.params.items() if value != defaults[key]}
    if {"beta1", "beta2"} & set(changed):
        changed = {"betas": (choice.params["beta1"], choice.params["beta2"]), **changed}
        changed = {key: value for key, value in changed.items() if key not in ("beta1", "beta2")}
    if choice.name == "adafactor":
        changed |= {"relative_step": False, "warmup_init": False}
    return {"optimizer_type": KOHYAS_NAMES[choice.name],
            "optimizer_args": [f"{key}={value!r}" for key, value in changed.items()]}  # fmt: skip


def _split(arguments: str) -> list[str]:
    call = ast.parse(f"f({arguments})", mode="eval").body
    return [f"{k.arg}={ast.literal_eval(k.value)!r}" for k in call.keywords] if isinstance(call, ast.Call) else []


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


def import_lr_schedule(conversion: Conversion) -> None:
    """Import train.lr_schedule and train.warmup."""
    name = str(conversion.value("lr_scheduler"))
    if conversion.has("lr_scheduler_type"):
        name = _schedule_of_class(str(conversion.value("lr_scheduler_type")), name)
        conversion.drop("lr_scheduler_type", f"classes of other libraries are not loaded; {name} is written instead")
        conversion.drop("lr_scheduler_args", "they belong to lr_scheduler_type, which is not loaded")
        conversion.mark_used("lr_scheduler")
    schedule: dict[str, Any] = {"name": "constant" if name == WARMED else name}
    used = ["lr_scheduler"]
    for option, (schedules, parameter, kind) in SCHEDULE_PARAMETERS.items():
        if name in schedules and (conversion.has(option) or (option, name) == ("lr_scheduler_num_cycles", RESTARTS)):
            schedule[parameter] = kind(conversion.value(option))
            used.append(option)
    _set_decay(conversion, name, schedule, used)
    rules = conversion.options.get("lr_scheduler_args")
    if name == "piecewise_constant" and rules:
        text = str(rules[0] if isinstance(rules, list) else rules).partition("=")[2].strip("'\" ")
        schedule["rules"] = text
        used.append("lr_scheduler_args")
    reason = ""
    if name.startswith("adafactor") or name == "reduce_lr_on_plateau" or name not in KNOWN_SCHEDULES:
        reason = f"kohya's {name} has no counterpart here; the rate stays as it is."
        schedule = {"name": "constant"}
    conversion.set("train.lr_schedule", schedule, *used, reason=reason)
    for option in (*SCHEDULE_PARAMETERS, "lr_decay_steps"):
        if option not in used:
            conversion.drop(option, f"{name} does not read it", severity="harmless")
    if "lr_scheduler_args" not in used:
        conversion.drop("lr_scheduler_args", f"arguments of {name} by kohya's names, which are not known here")
    warmup = conversion.value("lr_warmup_steps")
    conversion.set("train.warmup", warmup if warmup else 0, "lr_warmup_steps")


def _schedule_of_class(kind: str, fallback: str) -> str:
    """Schedule that corresponds to a class of torch; `fallback` where none does."""
    name = kind.rpartition(".")[2]
    if name.startswith("CosineAnnealing"):
        return RESTARTS if "Restarts" in name else "cosine"
    return {"ConstantLR": "constant", "LinearLR": "linear", "PolynomialLR": "polynomial"}.get(name, fallback)


def _set_decay(conversion: Conversion, name: str, schedule: dict[str, Any], used: list[str]) -> None:
    decay = conversion.value("lr_decay_steps")
    if name != "warmup_stable_decay" or not decay:
        return
    total = conversion.value("max_train_steps")
    if isinstance(decay, str) and decay.endswith("%"):
        decay = float(decay[:-1]) / 100
    if isinstance(decay, int) and conversion.has("max_train_epochs"):
        conversion.drop(
            "lr_decay_steps", "here it is a fraction of the run, whose length in steps is not known from epochs"
        )
        return
    schedule["decay"] = min(1.0, decay / total) if isinstance(decay, int) else decay
    used.append("lr_decay_steps")


def export_lr_schedule(config: RunConfig, dropped: list[Dropped]) -> dict[str, Any]:
    """Export the schedule and its warm-up; what has no counterpart is added to `dropped`."""
    choice = config.train.lr_schedule
    warmup = config.train.warmup
    name = choice.name
    if name == "constant" and warmup:
        name = WARMED
    if name not in KNOWN_SCHEDULES:
        dropped.append(Dropped(f"train.lr_schedule = {choice.spec}", "kohya has no such schedule"))
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
        dropped.append(Dropped(f"end = {params['end']:g} of train.lr_schedule", "kohya's ends at a rate of 1e-7"))
    return options
