"""The optimisation in kohya's words, both ways: which parts at which rate, optimizer, schedule, length, loss."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from snrlab.config.kohya_options import OPTIONS
from snrlab.config.run import RunConfig
from snrlab.core.training import OPTIMIZERS, usual
from snrlab.lab.exchange.kohya_network import is_sdxl, trains_lora
from snrlab.lab.exchange.kohya_schedule import schedule_back
from snrlab.lab.exchange.transfer import Left, Transfer, shown

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
LOSS_NAMES = {"l2": "mse", "l1": "l1", "huber": "huber", "smooth_l1": "smooth_l1"}
TEXT = ("text_encoder", "text_encoder_2")
OF_ALL_WEIGHTS = ("learning_rate_te", "learning_rate_te1", "learning_rate_te2")


def parts_and_rates(transfer: Transfer) -> None:
    """Which networks are trained, and at which rate."""
    lora, sdxl = trains_lora(transfer), is_sdxl(transfer)
    rates = _text_rates(transfer, lora, sdxl)
    unet = transfer.value("unet_lr") if lora else None
    trains_unet = not (lora and transfer.value("network_train_text_encoder_only")) and unet != 0
    transfer.put("train.unet", trains_unet, "network_train_text_encoder_only", *(["unet_lr"] if unet == 0 else []))
    unet = unet if trains_unet else None
    for part, (rate, name) in rates.items():
        on = rate != 0
        why = "kohya trains a LoRA of the text encoders too unless it is told not to." if lora and on else ""
        if on or transfer.has(name) or transfer.has("network_train_unet_only"):
            by_rate = not on and _is_switched_off(transfer, name)
            switches = (name,) if by_rate else ("network_train_unet_only", "train_text_encoder")
            transfer.put(f"train.{part}", on, *switches, why=f"{name} is 0." if by_rate else why)
    own = [rate for rate, _ in rates.values() if rate != 0] + ([unet] if trains_unet else [])
    if transfer.has("learning_rate") or None in own:
        transfer.put("train.learning_rate", float(transfer.value("learning_rate")), "learning_rate")
    transfer.put("train.unet_learning_rate", unet, "unet_lr")
    for part, (rate, name) in rates.items():
        transfer.put(f"train.{part}_learning_rate", rate or None, name)
    if not lora:
        transfer.leave("unet_lr", "of a LoRA; all weights are trained, at learning_rate", grade="idle")
    elif not trains_unet:
        transfer.leave("unet_lr", "the UNet is not trained")
    transfer.take("network_train_unet_only", "text_encoder_lr", "train_text_encoder", "network_train_text_encoder_only")


def _is_switched_off(transfer: Transfer, name: str) -> bool:
    """Whether it is by a rate of 0 that a text encoder is not trained."""
    stated = transfer.stated.get(name)
    return name != "network_train_unet_only" and (stated == 0 or (isinstance(stated, list) and 0 in stated))


def _text_rates(transfer: Transfer, lora: bool, sdxl: bool) -> dict[str, tuple[float | None, str]]:
    """By text encoder its own rate, None for learning_rate, 0 where it is not trained; and the option that says so."""
    parts = TEXT if sdxl else TEXT[:1]
    if lora:
        for name in OF_ALL_WEIGHTS:
            why = "kohya reads it where all weights are trained; of a LoRA it is text_encoder_lr"
            transfer.leave(name, why, grade="idle")
        if transfer.value("network_train_unet_only"):
            transfer.leave("text_encoder_lr", "network_train_unet_only: text encoders are not trained", grade="idle")
            return dict.fromkeys(parts, (0.0, "network_train_unet_only"))
        stated = transfer.value("text_encoder_lr")
        listed = [float(rate) for rate in (stated if isinstance(stated, list) else [stated]) if rate is not None]
        found = {part: listed[min(i, len(listed) - 1)] if listed else None for i, part in enumerate(parts)}
        return {part: (rate, "text_encoder_lr") for part, rate in found.items()}
    names = ("learning_rate_te1", "learning_rate_te2") if sdxl else ("learning_rate_te",)
    on = bool(transfer.value("train_text_encoder"))
    for name in (n for n in OF_ALL_WEIGHTS if n not in names):
        transfer.leave(name, f"of a model with {'one text encoder' if sdxl else 'two text encoders'}", grade="idle")
    if not on:
        for name in names:
            transfer.leave(name, "text encoders are not trained without train_text_encoder", grade="idle")
    return {part: (transfer.value(name) if on else 0.0, name) for part, name in zip(parts, names, strict=True)}


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


def length(transfer: Transfer) -> None:
    """train.steps or train.epochs; kohya goes by epochs where both are given."""
    if transfer.value("max_train_epochs"):
        transfer.put("train.epochs", int(transfer.value("max_train_epochs")), "max_train_epochs")
        transfer.leave("max_train_steps", "max_train_epochs goes before it", grade="idle")
    else:
        transfer.put("train.steps", int(transfer.value("max_train_steps")), "max_train_steps")


def loss(transfer: Transfer) -> None:
    """train.loss; its threshold where it has one."""
    kind = str(transfer.value("loss_type"))
    name = LOSS_NAMES.get(kind)
    if name is None:
        transfer.leave("loss_type")
        return
    value: dict[str, Any] = {"name": name}
    used = ["loss_type"]
    if name in ("huber", "smooth_l1"):
        value |= {"c_schedule": transfer.value("huber_schedule"), "c": float(transfer.value("huber_c")),
                  "scale": float(transfer.value("huber_scale"))}  # fmt: skip
        used += ["huber_schedule", "huber_c", "huber_scale"]
    transfer.put("train.loss", value, *used)
    for option in ("huber_schedule", "huber_c", "huber_scale"):
        if option not in used and not OPTIONS[option].is_default(transfer.stated.get(option)):
            transfer.leave(option, f"loss_type is {kind}, which has no threshold", grade="idle")


def train_back(config: RunConfig) -> tuple[dict[str, Any], list[Left]]:
    """What kohya calls it: options of [train]."""
    train = config.train
    left: list[Left] = []
    lora = train.method == "lora"
    options: dict[str, Any] = {"learning_rate": train.learning_rate}
    rates = [train.rate(part) if part in train.parts else 0.0 for part in ("text_encoder", "text_encoder_2")]
    if lora:
        options["unet_lr"] = train.unet_learning_rate
        options["network_train_unet_only"] = not train.trains_text or None
        options["network_train_text_encoder_only"] = not train.unet or None
        own = any((train.text_encoder_learning_rate, train.text_encoder_2_learning_rate))
        if train.trains_text and (own or (train.text_encoder_2 and not train.text_encoder)):
            options["text_encoder_lr"] = rates if train.text_encoder_2 else rates[:1]
        if train.text_encoder and not train.text_encoder_2:
            left.append(
                Left("train.text_encoder_2 = false", "on SDXL kohya trains the second text encoder with the first")
            )
    elif train.trains_text:
        options["train_text_encoder"] = True
        by_part = ("learning_rate_te1", "learning_rate_te2") if train.text_encoder_2 else ("learning_rate_te",)
        options |= dict(zip(by_part, rates, strict=False))
    if train.epochs is not None:
        options["max_train_epochs"] = train.epochs
    else:
        options["max_train_steps"] = train.steps
    options |= _optimizer_back(config, left) | schedule_back(config, left)
    options["loss_type"] = {ours: theirs for theirs, ours in LOSS_NAMES.items()}.get(train.loss.name)
    if options["loss_type"] is None:
        left.append(Left(f"train.loss = {train.loss.spec}", "kohya has no such loss"))
    names = {"c_schedule": "huber_schedule", "c": "huber_c", "scale": "huber_scale"}
    options |= {names[key]: value for key, value in train.loss.params.items() if key in names}
    if train.ema is not None:
        left.append(Left(f"train.ema = {train.ema:g}", "kohya keeps no average of the weights"))
    return options, left


def _optimizer_back(config: RunConfig, left: list[Left]) -> dict[str, Any]:
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
