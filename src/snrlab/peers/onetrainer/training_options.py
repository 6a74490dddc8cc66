"""Import of OneTrainer's training settings: networks and their learning rates, schedule, optimizer, EMA."""

from __future__ import annotations

from typing import Any

from snrlab.config.option_tables.onetrainer import ONETRAINER_FIELDS
from snrlab.core.registries.tensor_registries import OPTIMIZERS, default_choice
from snrlab.peers.conversion import Conversion, Dropped

OPTIMIZER_NAMES = {"ADAMW": "adamw", "ADAMW_8BIT": "adamw8bit", "LION": "lion", "PRODIGY": "prodigy",
                   "ADAFACTOR": "adafactor", "SCHEDULE_FREE_ADAMW": "schedule_free"}  # fmt: skip
TEXT = ("text_encoder", "text_encoder_2")
# parameters that every optimizer of snrlab has fixed at this value, and (UNSEEN) those that change no number
_ALWAYS_SO = {"decouple": True, "relative_step": False, "warmup_init": False, "adam_w_mode": True,
             "bias_correction": True, "percentile_clipping": 100, "slice_p": 1,
             "eps": 1e-30, "eps2": 1e-3}  # fmt: skip
UNSEEN = ("fused", "foreach", "capturable", "differentiable", "log_every", "use_triton", "is_paged", "min_8bit_size",
          "fsdp_in_use", "block_wise", "optim_bits")  # fmt: skip
_ELSEWHERE = ("optimizer", "fused_back_pass")  # of an optimizer, but no parameter of it


def import_parts(conversion: Conversion, model_type: str) -> None:
    """Import the networks that are trained, their learning rates, and gradient checkpointing."""
    names = ("unet", *(TEXT if "XL" in model_type else TEXT[:1]))
    for part in names:
        on = bool(conversion.value(f"{part}.train"))
        conversion.set(f"train.{part}", on, f"{part}.train")
        rate = conversion.value(f"{part}.learning_rate")
        if on:
            conversion.set(f"train.{part}_learning_rate", float(rate) if rate else None, f"{part}.learning_rate")
            import_stop(conversion, part)
        else:
            for name in ("learning_rate", "stop_training_after", "stop_training_after_unit"):
                conversion.drop(f"{part}.{name}", "it is not trained", severity="harmless")
    if "XL" not in model_type:
        for name in [name for name in conversion.options if name.startswith("text_encoder_2.")]:
            conversion.drop(name, "the model has one text encoder", severity="harmless")
    conversion.set("train.gradient_checkpointing", bool(conversion.value("unet.gradient_checkpointing")),
                 "unet.gradient_checkpointing")  # fmt: skip


def import_ema(conversion: Conversion) -> None:
    """Import train.ema; OneTrainer may update the average every few steps, snrlab does so at each."""
    if conversion.value("ema") != "OFF":
        interval = int(conversion.value("ema_update_step_interval") or 1)
        reason = (
            f"OneTrainer takes the average every {interval} steps; here it is taken at each." if interval != 1 else ""
        )
        decay = float(conversion.value("ema_decay")) ** (1 / interval)
        conversion.set("train.ema", round(decay, 6), "ema_decay", "ema", reason=reason)
        conversion.mark_used("ema_update_step_interval")
    for name in ("ema_decay", "ema_update_step_interval"):
        conversion.drop(name, "ema is OFF", severity="harmless")
    conversion.mark_used("ema")


def import_stop(conversion: Conversion, part: str) -> None:
    """Drop the point where OneTrainer stops training a network; by default a text encoder stops after 30 epochs."""
    names = (f"{part}.stop_training_after", f"{part}.stop_training_after_unit")
    after, unit = (conversion.value(name) for name in names)
    epochs = conversion.value("epochs")
    if not after or unit == "NEVER" or (unit == "EPOCH" and after >= epochs):
        for name in names:
            conversion.drop(name, "it is trained to the end, as here", severity="harmless")
        return
    reason = "a network is trained to the end here; give it a smaller learning rate"
    if not any(conversion.has(name) for name in names):
        conversion.dropped.append(
            Dropped(f"{names[0]} = {after:g}, {names[1]} = {unit}", f"OneTrainer's default; {reason}")
        )
    for name in names:
        conversion.mark_used(name)
        if conversion.has(name):
            conversion.dropped.append(Dropped(conversion.format_option(name), reason))


def import_onetrainer_lr_schedule(conversion: Conversion) -> None:
    """Import train.lr_schedule and train.warmup."""
    kind = str(conversion.value("learning_rate_scheduler"))
    least = float(conversion.value("learning_rate_min_factor") or 0)
    cycles = float(conversion.value("learning_rate_cycles") or 1)
    names = ["learning_rate_scheduler"]
    reason = ""
    match kind:
        case "CONSTANT":
            schedule: dict[str, Any] = {"name": "constant"}
        case "LINEAR":
            schedule = {"name": "polynomial", "power": 1.0, "end": least} if least else {"name": "linear"}
            names += ["learning_rate_min_factor"]
        case "COSINE":
            schedule = {"name": "cosine_with_min_lr", "min_ratio": least} if least else {"name": "cosine"}
            names += ["learning_rate_min_factor"]
        case "COSINE_WITH_RESTARTS":
            schedule = {"name": "cosine_with_min_lr", "min_ratio": least, "cycles": max(1, round(2 * cycles))}
            reason = "OneTrainer's COSINE_WITH_RESTARTS is a wave: down, and up again without a jump."
            names += ["learning_rate_cycles", "learning_rate_min_factor"]
        case "COSINE_WITH_HARD_RESTARTS":
            schedule = {"name": "cosine_with_restarts", "cycles": max(1, round(cycles))}
            names += ["learning_rate_cycles"]
        case _:
            schedule, reason = (
                {"name": "constant"},
                f"OneTrainer's {kind} has no counterpart here; the rate stays as it is.",
            )
    conversion.set("train.lr_schedule", schedule, *names, reason=reason)
    for name in ("learning_rate_cycles", "learning_rate_min_factor"):
        if name not in names:
            conversion.drop(name, f"{kind} does not read it", severity="harmless")
    warmup = float(conversion.value("learning_rate_warmup_steps"))
    steps, reason = (
        (batches_to_steps(conversion, warmup), batches_reason(conversion)) if warmup > 1 else (max(0.0, warmup), "")
    )
    conversion.set("train.warmup", steps, "learning_rate_warmup_steps", reason=reason)


def batches_to_steps(conversion: Conversion, count: float) -> int:
    """OneTrainer's steps, which count batches, as optimizer steps."""
    return max(1, round(count / int(conversion.value("gradient_accumulation_steps") or 1)))


def batches_reason(conversion: Conversion) -> str:
    """Sentence on what `batches_to_steps` changes; empty where it changes nothing."""
    accumulated = int(conversion.value("gradient_accumulation_steps") or 1)
    return f"OneTrainer counts batches, {accumulated} of which make a step here." if accumulated > 1 else ""


def _drop_parameter(conversion: Conversion, option: str, optimizer_name: str) -> None:
    """Drop a parameter that our optimizer does not have; harmless where it changes no number."""
    key, value = option.partition(".")[2], conversion.value(option)
    if key in UNSEEN:
        conversion.drop(option, "it changes how the step is computed, not its result", severity="harmless")
    elif key == "stochastic_rounding":
        conversion.drop(
            option, 'of weights in bf16, which train.weights = "bf16" always rounds so', severity="harmless"
        )
    elif key in _ALWAYS_SO and _ALWAYS_SO[key] == value:
        conversion.drop(option, "always so here", severity="harmless")
    elif option in ONETRAINER_FIELDS:
        conversion.drop(option, f"{optimizer_name} has no such parameter here")


def import_onetrainer_optimizer(conversion: Conversion) -> None:
    """Import train.optimizer with the parameters that our optimizer has, and the gradient clipping."""
    kind = str(conversion.value("optimizer.optimizer"))
    name = OPTIMIZER_NAMES.get(kind)
    given = [n for n in conversion.options if n.startswith("optimizer.") and conversion.has(n)]
    if name is None:
        for option in given:
            conversion.drop(option, f"{kind} is not offered here; adamw is written instead")
        conversion.set("train.optimizer", {"name": "adamw"}, reason=f"Instead of OneTrainer's {kind}.")
        return
    parameters = default_choice(OPTIMIZERS, name).entry.parameters
    optimizer: dict[str, Any] = {"name": name}
    names = ["optimizer.optimizer"]
    for option in given:
        key = option.partition(".")[2]
        if key in parameters:
            value = conversion.value(option)
            optimizer[key] = float(value) if float in parameters[key].types else value
            names.append(option)
    conversion.set("train.optimizer", optimizer, *names)
    for option in (option for option in given if option not in names and option.partition(".")[2] not in _ELSEWHERE):
        _drop_parameter(conversion, option, name)
    if conversion.value("optimizer.fused_back_pass") is True and name in ("adafactor", "adamw"):
        conversion.set("train.fused_backward", True, "optimizer.fused_back_pass")
        conversion.set("train.max_grad_norm", 0.0, "clip_grad_norm",
                     reason="The norm of all gradients is never known with fused_backward.")  # fmt: skip
    elif conversion.options.get("clip_grad_norm", 1.0) is None:
        conversion.set("train.max_grad_norm", 0.0, reason="clip_grad_norm is null: no limit.")
    else:
        conversion.set("train.max_grad_norm", float(conversion.value("clip_grad_norm")), "clip_grad_norm")
