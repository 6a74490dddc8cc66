"""What [train] may say together, and how older files say it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from snrlab.core.errors import UserError

if TYPE_CHECKING:
    from snrlab.config.sections.train import TrainConfig

ADAMW = ("beta1", "beta2", "weight_decay")
ADAPTIVE_RATE = 0.1  # below it, a rate that is meant as a multiplier has been left at what AdamW needs


def current_spelling(data: dict[str, Any]) -> dict[str, Any]:
    """[train] of an older file, with what has another place or name now where it belongs.

    These are AdamW's parameters, which are in `optimizer`, `warmup_steps`, now `warmup`, and the schedule
    `constant_with_warmup`, which was `constant` under a second name.

    Raises:
        UserError: the old and the new spelling are mixed.
    """
    now = dict(data)
    moved = {name: now.pop(name) for name in ADAMW if name in now}
    if moved:
        shown = ", ".join(f"{name} = {value}" for name, value in moved.items())
        if "optimizer" in now:
            raise UserError(
                f'{", ".join(moved)}: write optimizer = {{ name = "adamw", {shown} }}, in one place.',
                code="unknown-key",
            )
        now["optimizer"] = {"name": "adamw", **moved}
    if "warmup_steps" in now:
        if "warmup" in now:
            raise UserError(
                "warmup_steps is the older name of warmup; give one of them.",
                code="conflicting-options",
                field="warmup",
            )
        now["warmup"] = now.pop("warmup_steps")
    if now.get("lr_schedule") in ("constant_with_warmup", {"name": "constant_with_warmup"}):
        now["lr_schedule"] = "constant"
    return now


def warmup_steps(warmup: object, steps: int) -> int:
    """Steps of a warm-up that is written as steps, as a part of all, or in per cent.

    >>> [warmup_steps(w, 1000) for w in (50, 0.05, "5%")]
    [50, 50, 50]
    """
    match warmup:
        case bool():
            part = -1.0
        case int() if warmup >= 0:
            return warmup
        case float():
            part = warmup
        case str() if warmup.strip().endswith("%"):
            part = _per_cent(warmup.strip())
        case _:
            part = -1.0
    if not 0 <= part < 1:
        raise UserError(
            f'{warmup!r} is no warm-up; write whole steps, a part of all below 1, or per cent as "10%".',
            code="invalid-syntax",
        )
    return int(round(part * steps, 6))  # 0.29 x 100 is 29, although its float is a little less


def _per_cent(text: str) -> float:
    try:
        return float(text.removesuffix("%")) / 100
    except ValueError:
        return -1.0


def refuse_long_warmup(train: TrainConfig) -> None:
    """Refuse a warm-up that takes all steps (UserError)."""
    if train.warmup_steps >= train.steps:
        raise UserError(
            f"warmup is {train.warmup_steps} steps; it must be below steps, {train.steps}.",
            code="out-of-range",
            field="warmup",
        )


def refuse_foreign_schedule(value: Any) -> None:
    """Say why kohya's `adafactor` schedule is none here (UserError)."""
    name = value.get("name") if isinstance(value, dict) else value
    if isinstance(name, str) and name.partition(":")[0] == "adafactor":
        raise UserError(
            "adafactor is the optimizer's own relative step size, which ignores learning_rate and every schedule. "
            'Choose a schedule such as "constant", and learning_rate for what it should be.',
            code="not-supported",
            field="lr_schedule",
        )


def refuse_impossible(train: TrainConfig) -> None:
    """Refuse what cannot be together, or would be ignored (UserError)."""
    name, optimizer = train.optimizer.name, train.optimizer.entry.properties
    if optimizer.own_schedule and not train.lr_schedule.entry.properties.flat:
        raise UserError(
            f'{name} needs no schedule, its averages take that place: set lr_schedule = "constant".',
            code="conflicting-options",
            field="lr_schedule",
        )
    if optimizer.finds_rate and train.learning_rate < ADAPTIVE_RATE:
        raise UserError(
            f"{name} finds the rate itself, and learning_rate, here {train.learning_rate:g}, multiplies it: "
            "set learning_rate = 1.0.",
            code="conflicting-options",
            field="learning_rate",
        )
    rates = {f"{part}_learning_rate": train.rate(part) for part in train.parts}
    if optimizer.one_rate and len(set(rates.values())) > 1:
        shown = ", ".join(f"{field} = {rate:g}" for field, rate in rates.items())
        own = next(field for field, rate in rates.items() if rate != train.learning_rate)
        raise UserError(
            f"{name} finds one rate for all weights, but there are several: {shown}. Leave them out.",
            code="conflicting-options",
            field=own,
        )
    if optimizer.averages and train.ema is not None:
        raise UserError(f"{name} averages the weights already; remove ema.", code="conflicting-options", field="ema")
    if train.fused_backward or train.weights == "bf16":
        _refuse_one_by_one(train)
    if train.fused_backward:
        _refuse_fused(train)


def _refuse_one_by_one(train: TrainConfig) -> None:
    option = "fused_backward" if train.fused_backward else 'weights = "bf16"'
    if not train.optimizer.entry.properties.one_by_one:
        raise UserError(
            f"{option} updates the weights one by one, which {train.optimizer.name} cannot do; use adafactor or adamw.",
            code="conflicting-options",
            field="fused_backward" if train.fused_backward else "weights",
        )
    if train.weights == "bf16" and train.method != "full":
        raise UserError(
            'weights = "bf16" is for method = "full"; a LoRA is small and stays in fp32.',
            code="unused-option",
            field="weights",
        )
    if train.weights == "bf16" and train.ema is not None:
        raise UserError(
            'ema would average weights that are rounded to bf16; remove it, or set weights = "fp32".',
            code="conflicting-options",
            field="ema",
        )


def _refuse_fused(train: TrainConfig) -> None:
    if train.max_grad_norm:
        raise UserError(
            f"fused_backward never has all gradients at once, so their norm cannot be limited: set max_grad_norm = 0 "
            f"instead of {train.max_grad_norm:g} (adafactor limits each update itself).",
            code="conflicting-options",
            field="fused_backward",
        )
    if train.gradient_accumulation > 1:
        raise UserError(
            "fused_backward updates after every forward pass; set gradient_accumulation = 1 and raise batch_size.",
            code="conflicting-options",
            field="fused_backward",
        )
