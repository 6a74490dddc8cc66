"""OneTrainer's settings of the optimisation: which networks at which rate, schedule, optimizer, average."""

from __future__ import annotations

from typing import Any

from snrlab.config.option_tables.onetrainer import ONETRAINER_FIELDS
from snrlab.core.registries.tensor_registries import OPTIMIZERS, usual
from snrlab.peers.conversion import Conversion, Dropped

OPTIMIZER_NAMES = {"ADAMW": "adamw", "ADAMW_8BIT": "adamw8bit", "LION": "lion", "PRODIGY": "prodigy",
                   "ADAFACTOR": "adafactor", "SCHEDULE_FREE_ADAMW": "schedule_free"}  # fmt: skip
TEXT = ("text_encoder", "text_encoder_2")
# what every optimizer does here anyway, and what changes no number
_ALWAYS_SO = {"decouple": True, "relative_step": False, "warmup_init": False, "adam_w_mode": True,
             "bias_correction": True, "percentile_clipping": 100, "slice_p": 1,
             "eps": 1e-30, "eps2": 1e-3}  # fmt: skip
UNSEEN = ("fused", "foreach", "capturable", "differentiable", "log_every", "use_triton", "is_paged", "min_8bit_size",
          "fsdp_in_use", "block_wise", "optim_bits")  # fmt: skip
_ELSEWHERE = ("optimizer", "fused_back_pass")  # of an optimizer, but no parameter of it


def import_parts(transfer: Conversion, model_type: str) -> None:
    """Which networks are trained, at which rate, with checkpointing or not."""
    names = ("unet", *(TEXT if "XL" in model_type else TEXT[:1]))
    for part in names:
        on = bool(transfer.value(f"{part}.train"))
        transfer.put(f"train.{part}", on, f"{part}.train")
        rate = transfer.value(f"{part}.learning_rate")
        if on:
            transfer.put(f"train.{part}_learning_rate", float(rate) if rate else None, f"{part}.learning_rate")
            stop(transfer, part)
        else:
            for name in ("learning_rate", "stop_training_after", "stop_training_after_unit"):
                transfer.leave(f"{part}.{name}", "it is not trained", grade="idle")
    if "XL" not in model_type:
        for name in [name for name in transfer.stated if name.startswith("text_encoder_2.")]:
            transfer.leave(name, "the model has one text encoder", grade="idle")
    transfer.put("train.gradient_checkpointing", bool(transfer.value("unet.gradient_checkpointing")),
                 "unet.gradient_checkpointing")  # fmt: skip


def average(transfer: Conversion) -> None:
    """train.ema; OneTrainer takes the average every few steps."""
    if transfer.value("ema") != "OFF":
        every = int(transfer.value("ema_update_step_interval") or 1)
        why = f"OneTrainer takes the average every {every} steps; here it is taken at each." if every != 1 else ""
        decay = float(transfer.value("ema_decay")) ** (1 / every)
        transfer.put("train.ema", round(decay, 6), "ema_decay", "ema", why=why)
        transfer.take("ema_update_step_interval")
    for name in ("ema_decay", "ema_update_step_interval"):
        transfer.leave(name, "ema is OFF", grade="idle")
    transfer.take("ema")


def stop(transfer: Conversion, part: str) -> None:
    """Where OneTrainer stops training a network before the end, by itself a text encoder after 30 epochs."""
    names = (f"{part}.stop_training_after", f"{part}.stop_training_after_unit")
    after, unit = (transfer.value(name) for name in names)
    epochs = transfer.value("epochs")
    if not after or unit == "NEVER" or (unit == "EPOCH" and after >= epochs):
        for name in names:
            transfer.leave(name, "it is trained to the end, as here", grade="idle")
        return
    why = "a network is trained to the end here; give it a smaller learning rate"
    if not any(transfer.has(name) for name in names):
        transfer.left.append(Dropped(f"{names[0]} = {after:g}, {names[1]} = {unit}", f"OneTrainer's default; {why}"))
    for name in names:
        transfer.take(name)
        if transfer.has(name):
            transfer.left.append(Dropped(transfer.shown(name), why))


def import_onetrainer_lr_schedule(transfer: Conversion) -> None:
    """train.lr_schedule and train.warmup."""
    kind = str(transfer.value("learning_rate_scheduler"))
    least = float(transfer.value("learning_rate_min_factor") or 0)
    cycles = float(transfer.value("learning_rate_cycles") or 1)
    names = ["learning_rate_scheduler"]
    why = ""
    match kind:
        case "CONSTANT":
            found: dict[str, Any] = {"name": "constant"}
        case "LINEAR":
            found = {"name": "polynomial", "power": 1.0, "end": least} if least else {"name": "linear"}
            names += ["learning_rate_min_factor"]
        case "COSINE":
            found = {"name": "cosine_with_min_lr", "min_ratio": least} if least else {"name": "cosine"}
            names += ["learning_rate_min_factor"]
        case "COSINE_WITH_RESTARTS":
            found = {"name": "cosine_with_min_lr", "min_ratio": least, "cycles": max(1, round(2 * cycles))}
            why = "OneTrainer's COSINE_WITH_RESTARTS is a wave: down, and up again without a jump."
            names += ["learning_rate_cycles", "learning_rate_min_factor"]
        case "COSINE_WITH_HARD_RESTARTS":
            found = {"name": "cosine_with_restarts", "cycles": max(1, round(cycles))}
            names += ["learning_rate_cycles"]
        case _:
            found, why = {"name": "constant"}, f"OneTrainer's {kind} has no counterpart here; the rate stays as it is."
    transfer.put("train.lr_schedule", found, *names, why=why)
    for name in ("learning_rate_cycles", "learning_rate_min_factor"):
        if name not in names:
            transfer.leave(name, f"{kind} does not read it", grade="idle")
    warmup = float(transfer.value("learning_rate_warmup_steps"))
    steps, why = (batches(transfer, warmup), batches_why(transfer)) if warmup > 1 else (max(0.0, warmup), "")
    transfer.put("train.warmup", steps, "learning_rate_warmup_steps", why=why)


def batches(transfer: Conversion, count: float) -> int:
    """OneTrainer's steps, each of one batch, as updates of the weights."""
    return max(1, round(count / int(transfer.value("gradient_accumulation_steps") or 1)))


def batches_why(transfer: Conversion) -> str:
    """What `batches` does, in words; empty where nothing."""
    accumulated = int(transfer.value("gradient_accumulation_steps") or 1)
    return f"OneTrainer counts batches, {accumulated} of which make a step here." if accumulated > 1 else ""


def _other_parameter(transfer: Conversion, option: str, optimizer_name: str) -> None:
    """Leave a parameter that the optimizer does not have here; nothing is lost where it is so anyway."""
    key, value = option.partition(".")[2], transfer.value(option)
    if key in UNSEEN:
        transfer.leave(option, "how it is computed, not what", grade="idle")
    elif key == "stochastic_rounding":
        transfer.leave(option, 'of weights in bf16, which train.weights = "bf16" always rounds so', grade="idle")
    elif key in _ALWAYS_SO and _ALWAYS_SO[key] == value:
        transfer.leave(option, "always so here", grade="idle")
    elif option in ONETRAINER_FIELDS:
        transfer.leave(option, f"{optimizer_name} has no such parameter here")


def import_onetrainer_optimizer(transfer: Conversion) -> None:
    """train.optimizer with the parameters that it has here."""
    kind = str(transfer.value("optimizer.optimizer"))
    name = OPTIMIZER_NAMES.get(kind)
    stated = [n for n in transfer.stated if n.startswith("optimizer.") and transfer.has(n)]
    if name is None:
        for option in stated:
            transfer.leave(option, f"{kind} is not offered here; adamw is written instead")
        transfer.put("train.optimizer", {"name": "adamw"}, why=f"Instead of OneTrainer's {kind}.")
        return
    parameters = usual(OPTIMIZERS, name).entry.parameters
    found: dict[str, Any] = {"name": name}
    names = ["optimizer.optimizer"]
    for option in stated:
        key = option.partition(".")[2]
        if key in parameters:
            value = transfer.value(option)
            found[key] = float(value) if float in parameters[key].types else value
            names.append(option)
    transfer.put("train.optimizer", found, *names)
    for option in (option for option in stated if option not in names and option.partition(".")[2] not in _ELSEWHERE):
        _other_parameter(transfer, option, name)
    if transfer.value("optimizer.fused_back_pass") is True and name in ("adafactor", "adamw"):
        transfer.put("train.fused_backward", True, "optimizer.fused_back_pass")
        transfer.put("train.max_grad_norm", 0.0, "clip_grad_norm",
                     why="The norm of all gradients is never known with fused_backward.")  # fmt: skip
    elif transfer.stated.get("clip_grad_norm", 1.0) is None:
        transfer.put("train.max_grad_norm", 0.0, why="clip_grad_norm is null: no limit.")
    else:
        transfer.put("train.max_grad_norm", float(transfer.value("clip_grad_norm")), "clip_grad_norm")
