"""The optimisation in kohya's words, both ways: which parts at which rate, optimizer, schedule, length, loss."""

from __future__ import annotations

from typing import Any

from snrlab.config.option_tables.kohya import KOHYA_OPTIONS
from snrlab.config.run import RunConfig
from snrlab.peers.conversion import Conversion, Dropped
from snrlab.peers.kohya.network import is_sdxl, is_sdxl_run, trains_lora
from snrlab.peers.kohya.optimizer import optimizer_back, schedule_back

LOSS_NAMES = {"l2": "mse", "l1": "l1", "huber": "huber", "smooth_l1": "smooth_l1"}
_TEXT = ("text_encoder", "text_encoder_2")
SEVERAL = "kohya's networks.lora takes the first of the rates for both text encoders; here each has its own."
ONE_RATE = "kohya's networks.lora takes one rate, the first, for both text encoders"
OF_ALL_WEIGHTS = ("learning_rate_te", "learning_rate_te1", "learning_rate_te2")


def parts_and_rates(transfer: Conversion, *, as_is: bool = False) -> None:
    """Which networks are trained, and at which rate; as it is, kohya takes the first of several for all of a kind."""
    lora, sdxl = trains_lora(transfer), is_sdxl(transfer)
    rates = _text_rates(transfer, lora, sdxl)
    if lora and as_is:
        rates = {part: next(iter(rates.values())) for part in rates}
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
        several = lora and len({rate for rate, _ in rates.values()}) > 1
        transfer.put(f"train.{part}_learning_rate", rate or None, name, why=SEVERAL if several else "")
    if not lora:
        transfer.leave("unet_lr", "of a LoRA; all weights are trained, at learning_rate", grade="idle")
    elif not trains_unet:
        transfer.leave("unet_lr", "the UNet is not trained")
    transfer.take("network_train_unet_only", "text_encoder_lr", "train_text_encoder", "network_train_text_encoder_only")


def _is_switched_off(transfer: Conversion, name: str) -> bool:
    """Whether it is by a rate of 0 that a text encoder is not trained."""
    stated = transfer.stated.get(name)
    return name != "network_train_unet_only" and (stated == 0 or (isinstance(stated, list) and 0 in stated))


def _text_rates(transfer: Conversion, lora: bool, sdxl: bool) -> dict[str, tuple[float | None, str]]:
    """By text encoder its own rate, None for learning_rate, 0 where it is not trained; and the option that says so."""
    parts = _TEXT if sdxl else _TEXT[:1]
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
    stop = transfer.value("stop_text_encoder_training")  # train_db.py has this in place of a switch
    on = bool(transfer.value("train_text_encoder") or (stop and stop > 0))
    if stop == -1:
        transfer.leave("stop_text_encoder_training", "no text encoder is trained", grade="idle")
    for name in (n for n in OF_ALL_WEIGHTS if n not in names):
        transfer.leave(name, f"of a model with {'one text encoder' if sdxl else 'two text encoders'}", grade="idle")
    if not on:
        for name in names:
            transfer.leave(name, "text encoders are not trained without train_text_encoder", grade="idle")
    return {part: (transfer.value(name) if on else 0.0, name) for part, name in zip(parts, names, strict=True)}


def length(transfer: Conversion) -> None:
    """train.steps or train.epochs; kohya goes by epochs where both are given."""
    if transfer.value("max_train_epochs"):
        transfer.put("train.epochs", int(transfer.value("max_train_epochs")), "max_train_epochs")
        transfer.leave("max_train_steps", "max_train_epochs goes before it", grade="idle")
    else:
        transfer.put("train.steps", int(transfer.value("max_train_steps")), "max_train_steps")


def loss(transfer: Conversion) -> None:
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
        if option not in used and not KOHYA_OPTIONS[option].is_default(transfer.stated.get(option)):
            transfer.leave(option, f"loss_type is {kind}, which has no threshold", grade="idle")


def train_back(config: RunConfig) -> tuple[dict[str, Any], list[Dropped]]:
    """What kohya calls it: options of [train]."""
    train = config.train
    left: list[Dropped] = []
    lora = train.method == "lora"
    options: dict[str, Any] = {"learning_rate": train.learning_rate}
    rates = [train.rate(part) if part in train.parts else 0.0 for part in ("text_encoder", "text_encoder_2")]
    if lora:
        options["unet_lr"] = train.unet_learning_rate
        options["network_train_unet_only"] = not train.trains_text or None
        options["network_train_text_encoder_only"] = not train.unet or None
        own = any((train.text_encoder_learning_rate, train.text_encoder_2_learning_rate))
        if train.trains_text and own:
            options["text_encoder_lr"] = [rates[0] or rates[1]]
        if train.text_encoder_2 and rates[0] != rates[1]:
            left.append(Dropped("train.text_encoder_2_learning_rate", ONE_RATE))
        if train.text_encoder and not train.text_encoder_2:
            why = "if this is SDXL, kohya trains the second text encoder with the first"
            left.append(Dropped("train.text_encoder_2 = false", why))
    elif not train.trains_text:
        options["stop_text_encoder_training"] = -1  # train_db.py trains the text encoder unless it is told so
    else:
        options["train_text_encoder"] = True
        by_part = OF_ALL_WEIGHTS[1:] if is_sdxl_run(config) else OF_ALL_WEIGHTS[:1]
        options |= dict(zip(by_part, rates, strict=False))
    if train.epochs is not None:
        options["max_train_epochs"] = train.epochs
    else:
        options["max_train_steps"] = train.steps
    options |= optimizer_back(config, left) | schedule_back(config, left)
    options["loss_type"] = {ours: theirs for theirs, ours in LOSS_NAMES.items()}.get(train.loss.name)
    if options["loss_type"] is None:
        left.append(Dropped(f"train.loss = {train.loss.spec}", "kohya has no such loss"))
    names = {"c_schedule": "huber_schedule", "c": "huber_c", "scale": "huber_scale"}
    options |= {names[key]: value for key, value in train.loss.params.items() if key in names}
    if train.ema is not None:
        left.append(Dropped(f"train.ema = {train.ema:g}", "kohya keeps no average of the weights"))
    return options, left
