"""The optimizer in kohya's words, both ways."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from snrlab.config.run import RunConfig
from snrlab.core.registries.training import OPTIMIZERS, usual
from snrlab.peers.conversion import Left, Transfer, shown

OPTIMIZER_NAMES = {
    "": "adamw", "adamw": "adamw", "adamw8bit": "adamw8bit", "pagedadamw8bit": "paged_adamw8bit", "lion": "lion",
    "prodigy": "prodigy", "adafactor": "adafactor", "adamwschedulefree": "schedule_free",
}  # fmt: skip
KOHYAS_NAMES = {"adamw": "AdamW", "adamw8bit": "AdamW8bit", "paged_adamw8bit": "PagedAdamW8bit", "lion": "Lion",
                "prodigy": "Prodigy", "adafactor": "Adafactor", "schedule_free": "AdamWScheduleFree"}  # fmt: skip
# names that kohya has for classes which stand for themselves here: path, and what it sets besides
CLASSES = {
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
# what the programs' defaults are where ours differ
THEIR_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "prodigy": {"weight_decay": 0.0, "use_bias_correction": False, "safeguard_warmup": False},
    "adafactor": {"scale_parameter": True}, "schedule_free": {"weight_decay": 0.0},
}  # fmt: skip
ALWAYS_SO = {"decouple": True, "relative_step": False, "warmup_init": False, "foreach": False, "slice_p": 1}


def optimizer(transfer: Transfer) -> None:
    """train.optimizer from its name and arguments."""
    names = ("optimizer_type", "optimizer_args")
    kind = str(transfer.value("optimizer_type") or "")
    for old, meant in (("use_8bit_adam", "adamw8bit"), ("use_lion_optimizer", "lion")):
        if transfer.value(old) is True and not kind:
            kind, names = meant, (old, "optimizer_args")
        transfer.take(old)
    stated = transfer.stated.get("optimizer_args")
    arguments = {k: _literal(_literal(v)) for k, v in stated.items()} if isinstance(stated, Mapping) else {}
    plain = kind.rpartition(".")[2].lower()
    name = OPTIMIZER_NAMES.get(kind.lower(), OPTIMIZER_NAMES.get(plain, "custom"))
    if name == "custom":
        path, extra = CLASSES.get(kind.lower(), (_class_path(kind), {}))
        text = ", ".join(f"{k}={v!r}" for k, v in {**extra, **arguments}.items())
        value: dict[str, Any] = {"name": name, "path": path} | ({"args": text} if text else {})
        transfer.put(
            "train.optimizer",
            value,
            *names,
            why="An optimizer of another package by its class; that package has to be installed.",
        )
        return
    value = {"name": name, **THEIR_DEFAULTS.get(name, {}), **_known(transfer, name, arguments)}
    silent = [key for key in THEIR_DEFAULTS.get(name, {}) if key not in arguments]
    why = f"Not stated, and so the program's own default: {', '.join(silent)}." if silent else ""
    transfer.put("train.optimizer", value, *names, why=why)


def _known(transfer: Transfer, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that the optimizer has here; the others are left."""
    parameters = usual(OPTIMIZERS, name).entry.parameters
    found: dict[str, Any] = {}
    for key, value in arguments.items():
        if key == "betas" and isinstance(value, tuple | list) and len(value) == 2 and "beta1" in parameters:
            found |= {"beta1": float(value[0]), "beta2": float(value[1])}
        elif key in parameters:
            whole = float in parameters[key].types and isinstance(value, int) and not isinstance(value, bool)
            found[key] = float(value) if whole else value
        elif ALWAYS_SO.get(key) == value:
            transfer.left.append(Left(f"optimizer_args: {key} = {shown(value)}", "always so here", "idle"))
        elif key in ("relative_step", "warmup_init"):
            why = "Adafactor goes by learning_rate here, never by a step size of its own"
            transfer.left.append(Left(f"optimizer_args: {key} = {shown(value)}", why))
        else:
            text = shown(value if not isinstance(value, tuple) else list(value))
            transfer.left.append(Left(f"optimizer_args: {key} = {text}", f"{name} has no such parameter here"))
    return found


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


def optimizer_back(config: RunConfig, left: list[Left]) -> dict[str, Any]:
    """The optimizer and its arguments; what has no counterpart is added to `left`."""
    choice = config.train.optimizer
    if choice.name == "custom":
        arguments = choice.params["args"]
        path = choice.params["path"].replace(":", ".")
        back = {ours: theirs for theirs, (ours, extra) in CLASSES.items() if not extra}
        return {"optimizer_type": back.get(choice.params["path"], path),
                "optimizer_args": _split(arguments)}  # fmt: skip
    if choice.name not in KOHYAS_NAMES:
        left.append(Left(f"train.optimizer = {choice.spec}", "kohya has no such optimizer"))
        return {}
    own = {**choice.entry.bind().params, **THEIR_DEFAULTS.get(choice.name, {})}
    changed = {key: value for key, value in choice.params.items() if value != own[key]}
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
