"""Import and export of kohya's training options: networks and their learning rates, length, loss."""

from __future__ import annotations

from typing import Any

from snrlab.config.option_tables.kohya import KOHYA_OPTIONS
from snrlab.config.run import RunConfig
from snrlab.peers.conversion import Conversion, Dropped
from snrlab.peers.kohya.network_options import is_sdxl, is_sdxl_run, trains_lora
from snrlab.peers.kohya.optimizer_options import export_lr_schedule, export_optimizer

LOSS_NAMES = {"l2": "mse", "l1": "l1", "huber": "huber", "smooth_l1": "smooth_l1"}
_TEXT = ("text_encoder", "text_encoder_2")
SEVERAL = "kohya's networks.lora takes the first of the rates for both text encoders; here each has its own."
ONE_RATE = "kohya's networks.lora takes one rate, the first, for both text encoders"
OF_ALL_WEIGHTS = ("learning_rate_te", "learning_rate_te1", "learning_rate_te2")


def import_parts_and_rates(conversion: Conversion, *, as_is: bool = False) -> None:
    """Import which networks are trained, and their rates; with `as_is` the first rate is for all text encoders."""
    lora, sdxl = trains_lora(conversion), is_sdxl(conversion)
    rates = _text_rates(conversion, lora, sdxl)
    if lora and as_is:
        rates = {part: next(iter(rates.values())) for part in rates}
    unet = conversion.value("unet_lr") if lora else None
    trains_unet = not (lora and conversion.value("network_train_text_encoder_only")) and unet != 0
    conversion.set("train.unet", trains_unet, "network_train_text_encoder_only", *(["unet_lr"] if unet == 0 else []))
    unet = unet if trains_unet else None
    for part, (rate, name) in rates.items():
        on = rate != 0
        reason = "kohya trains the text encoders too unless network_train_unet_only is set." if lora and on else ""
        if on or conversion.has(name) or conversion.has("network_train_unet_only"):
            by_rate = not on and _is_switched_off(conversion, name)
            switches = (name,) if by_rate else ("network_train_unet_only", "train_text_encoder")
            conversion.set(f"train.{part}", on, *switches, reason=f"{name} is 0." if by_rate else reason)
    used_rates = [rate for rate, _ in rates.values() if rate != 0] + ([unet] if trains_unet else [])
    if conversion.has("learning_rate") or None in used_rates:
        conversion.set("train.learning_rate", float(conversion.value("learning_rate")), "learning_rate")
    conversion.set("train.unet_learning_rate", unet, "unet_lr")
    for part, (rate, name) in rates.items():
        several = lora and len({rate for rate, _ in rates.values()}) > 1
        conversion.set(f"train.{part}_learning_rate", rate or None, name, reason=SEVERAL if several else "")
    if not lora:
        conversion.drop("unet_lr", "only for a LoRA; all weights are trained, at learning_rate", severity="harmless")
    elif not trains_unet:
        conversion.drop("unet_lr", "the UNet is not trained")
    conversion.mark_used(
        "network_train_unet_only", "text_encoder_lr", "train_text_encoder", "network_train_text_encoder_only"
    )


def _is_switched_off(conversion: Conversion, name: str) -> bool:
    """Whether a rate of 0 is what keeps a text encoder from being trained."""
    rate = conversion.options.get(name)
    return name != "network_train_unet_only" and (rate == 0 or (isinstance(rate, list) and 0 in rate))


def _text_rates(conversion: Conversion, lora: bool, sdxl: bool) -> dict[str, tuple[float | None, str]]:
    """(rate, option that states it) by text encoder; None means learning_rate, 0 that it is not trained."""
    parts = _TEXT if sdxl else _TEXT[:1]
    if lora:
        for name in OF_ALL_WEIGHTS:
            reason = "kohya reads it where all weights are trained; of a LoRA it is text_encoder_lr"
            conversion.drop(name, reason, severity="harmless")
        if conversion.value("network_train_unet_only"):
            conversion.drop(
                "text_encoder_lr", "network_train_unet_only: text encoders are not trained", severity="harmless"
            )
            return dict.fromkeys(parts, (0.0, "network_train_unet_only"))
        given = conversion.value("text_encoder_lr")
        listed = [float(rate) for rate in (given if isinstance(given, list) else [given]) if rate is not None]
        by_part = {part: listed[min(i, len(listed) - 1)] if listed else None for i, part in enumerate(parts)}
        return {part: (rate, "text_encoder_lr") for part, rate in by_part.items()}
    names = ("learning_rate_te1", "learning_rate_te2") if sdxl else ("learning_rate_te",)
    stop = conversion.value("stop_text_encoder_training")  # train_db.py has this in place of a switch
    on = bool(conversion.value("train_text_encoder") or (stop and stop > 0))
    if stop == -1:
        conversion.drop("stop_text_encoder_training", "no text encoder is trained", severity="harmless")
    for name in (n for n in OF_ALL_WEIGHTS if n not in names):
        conversion.drop(
            name, f"of a model with {'one text encoder' if sdxl else 'two text encoders'}", severity="harmless"
        )
    if not on:
        for name in names:
            conversion.drop(name, "text encoders are not trained without train_text_encoder", severity="harmless")
    return {part: (conversion.value(name) if on else 0.0, name) for part, name in zip(parts, names, strict=True)}


def import_length(conversion: Conversion) -> None:
    """Import train.steps or train.epochs; epochs win where both are stated, as in kohya."""
    if conversion.value("max_train_epochs"):
        conversion.set("train.epochs", int(conversion.value("max_train_epochs")), "max_train_epochs")
        conversion.drop("max_train_steps", "max_train_epochs overrides it", severity="harmless")
    else:
        conversion.set("train.steps", int(conversion.value("max_train_steps")), "max_train_steps")


def import_loss(conversion: Conversion) -> None:
    """Import train.loss, with the threshold where the loss has one."""
    kind = str(conversion.value("loss_type"))
    name = LOSS_NAMES.get(kind)
    if name is None:
        conversion.drop("loss_type")
        return
    value: dict[str, Any] = {"name": name}
    used = ["loss_type"]
    if name in ("huber", "smooth_l1"):
        value |= {"c_schedule": conversion.value("huber_schedule"), "c": float(conversion.value("huber_c")),
                  "scale": float(conversion.value("huber_scale"))}  # fmt: skip
        used += ["huber_schedule", "huber_c", "huber_scale"]
    conversion.set("train.loss", value, *used)
    for option in ("huber_schedule", "huber_c", "huber_scale"):
        if option not in used and not KOHYA_OPTIONS[option].is_default(conversion.options.get(option)):
            conversion.drop(option, f"loss_type is {kind}, which has no threshold", severity="harmless")


def export_training(config: RunConfig) -> tuple[dict[str, Any], list[Dropped]]:
    """Export [train]: (kohya's options, dropped fields)."""
    train = config.train
    dropped: list[Dropped] = []
    lora = train.method == "lora"
    options: dict[str, Any] = {"learning_rate": train.learning_rate}
    rates = [train.rate(part) if part in train.parts else 0.0 for part in ("text_encoder", "text_encoder_2")]
    if lora:
        options["unet_lr"] = train.unet_learning_rate
        options["network_train_unet_only"] = not train.trains_text or None
        options["network_train_text_encoder_only"] = not train.unet or None
        has_own_rate = any((train.text_encoder_learning_rate, train.text_encoder_2_learning_rate))
        if train.trains_text and has_own_rate:
            options["text_encoder_lr"] = [rates[0] or rates[1]]
        if train.text_encoder_2 and rates[0] != rates[1]:
            dropped.append(Dropped("train.text_encoder_2_learning_rate", ONE_RATE))
        if train.text_encoder and not train.text_encoder_2:
            reason = "if this is SDXL, kohya trains the second text encoder with the first"
            dropped.append(Dropped("train.text_encoder_2 = false", reason))
    elif not train.trains_text:
        options["stop_text_encoder_training"] = -1  # train_db.py trains the text encoder otherwise
    else:
        options["train_text_encoder"] = True
        by_part = OF_ALL_WEIGHTS[1:] if is_sdxl_run(config) else OF_ALL_WEIGHTS[:1]
        options |= dict(zip(by_part, rates, strict=False))
    if train.epochs is not None:
        options["max_train_epochs"] = train.epochs
    else:
        options["max_train_steps"] = train.steps
    options |= export_optimizer(config, dropped) | export_lr_schedule(config, dropped)
    options["loss_type"] = {ours: theirs for theirs, ours in LOSS_NAMES.items()}.get(train.loss.name)
    if options["loss_type"] is None:
        dropped.append(Dropped(f"train.loss = {train.loss.spec}", "kohya has no such loss"))
    names = {"c_schedule": "huber_schedule", "c": "huber_c", "scale": "huber_scale"}
    options |= {names[key]: value for key, value in train.loss.params.items() if key in names}
    if train.ema is not None:
        dropped.append(Dropped(f"train.ema = {train.ema:g}", "kohya keeps no average of the weights"))
    return options, dropped
