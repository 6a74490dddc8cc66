"""[train]: the optimisation."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from snrlab.config.sections.section import BATCH_RULE, FREE, Section
from snrlab.config.sections.strategy import LearningRateField, LossField, OptimizerField
from snrlab.core.errors import UserError
from snrlab.core.learning_rate import LR_SCHEDULES
from snrlab.core.registries.tensor_registries import LOSSES, OPTIMIZERS, usual

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


TrainedPart = Literal["unet", "text_encoder", "text_encoder_2"]
_PARTS: tuple[TrainedPart, ...] = get_args(TrainedPart)


class TrainConfig(Section):
    """[train]: the optimisation."""

    method: Literal["lora", "full"] = Field("lora", description="Train a LoRA, or all weights.")
    unet: bool = Field(True, description="Train the UNet.")
    text_encoder: bool = Field(False, description="Train the text encoder too.")
    text_encoder_2: bool = Field(False, description="Train SDXL's second text encoder too.")
    steps: int = Field(1000, ge=1, description="Optimizer steps.", json_schema_extra=FREE)
    epochs: int | None = Field(
        None, ge=1, description="Instead of steps: how often every example is seen.", json_schema_extra=FREE
    )
    batch_size: int = Field(
        1, ge=1, description="Images per forward pass, on each device.", json_schema_extra=BATCH_RULE
    )
    gradient_accumulation: int = Field(
        1, ge=1, description="Forward passes per optimizer step.", json_schema_extra=BATCH_RULE
    )
    learning_rate: float = Field(1e-4, gt=0, description="Learning rate after warm-up.")
    unet_learning_rate: float | None = Field(None, gt=0, description="Rate of the UNet; by default learning_rate.")
    text_encoder_learning_rate: float | None = Field(
        None, gt=0, description="Rate of the text encoder; by default learning_rate."
    )
    text_encoder_2_learning_rate: float | None = Field(
        None, gt=0, description="Rate of the second text encoder; by default learning_rate."
    )
    optimizer: OptimizerField = Field(
        default_factory=lambda: usual(OPTIMIZERS, "adamw"), description="What turns gradients into updates."
    )
    warmup: int | float | str = Field(
        0, description='Steps over which the learning rate rises from 0: a number, or a part of all, 0.05 or "5%".'
    )
    lr_schedule: LearningRateField = Field(
        default_factory=lambda: LR_SCHEDULES.bind("cosine"), description="Learning rate after warm-up."
    )
    loss: LossField = Field(
        default_factory=lambda: usual(LOSSES, "mse"), description="What is made of each element's error."
    )
    max_grad_norm: float = Field(1.0, ge=0, description="Gradient norm above which it is scaled down; 0 is none.")
    ema: float | None = Field(
        None, gt=0, lt=1, description="Decay of an average of the weights, which is then what is sampled and saved."
    )
    checkpoint_every: int = Field(100, ge=1, description="Steps between resumable checkpoints.", json_schema_extra=FREE)
    gradient_checkpointing: bool = Field(
        False,
        description="Compute activations again in the backward pass: far less memory, a third more time.",
        json_schema_extra=FREE,
    )
    weights: Literal["fp32", "bf16"] = Field(
        "fp32", description="Number format of trained weights; bf16 (full) is rounded at random, so no update is lost."
    )
    fused_backward: bool = Field(
        False, description="Update each weight during the backward pass, so that only one gradient is held at a time."
    )

    @property
    def warmup_steps(self) -> int:
        """Steps of warm-up."""
        return warmup_steps(self.warmup, self.steps)

    def in_steps(self, examples: int, processes: int = 1) -> TrainConfig:
        """The same with `epochs` over so many examples as steps of so many processes, the last one filled up.

        Raises:
            UserError: the warm-up is longer than that.

        >>> TrainConfig(epochs=3, batch_size=4).in_steps(10).steps
        8
        """
        if self.epochs is None:
            return self
        slots = self.batch_size * self.gradient_accumulation * processes
        found = self.model_copy(update={"steps": -(-self.epochs * examples // slots), "epochs": None})
        refuse_long_warmup(found)
        return found

    @model_validator(mode="before")
    @classmethod
    def _current_spelling(cls, data: Any) -> Any:
        return current_spelling(data) if isinstance(data, dict) else data

    @field_validator("warmup", mode="before")
    @classmethod
    def _readable_warmup(cls, value: Any) -> Any:
        warmup_steps(value, 1)
        return value

    @field_validator("lr_schedule", mode="before")
    @classmethod
    def _known_schedule(cls, value: Any) -> Any:
        refuse_foreign_schedule(value)
        return value

    @property
    def parts(self) -> tuple[TrainedPart, ...]:
        """The networks that are trained."""
        return tuple(part for part in _PARTS if getattr(self, part))

    @property
    def trains_text(self) -> bool:
        """Whether a text encoder is trained, so that its embeddings change from step to step."""
        return self.text_encoder or self.text_encoder_2

    def rate(self, part: TrainedPart) -> float:
        """The learning rate of a network after warm-up."""
        return getattr(self, f"{part}_learning_rate") or self.learning_rate

    @model_validator(mode="after")
    def _rates_are_used(self) -> TrainConfig:
        if not self.parts:
            raise UserError(
                "unet, text_encoder and text_encoder_2 are all false: there is nothing to train.",
                code="nothing-to-do",
                field="unet",
            )
        for part in _PARTS:
            if getattr(self, f"{part}_learning_rate") is not None and part not in self.parts:
                raise UserError(
                    f"{part}_learning_rate is set but {part} is not trained; set {part} = true.",
                    code="unused-option",
                    field=f"{part}_learning_rate",
                )
        return self

    @model_validator(mode="after")
    def _possible(self) -> TrainConfig:
        if self.epochs is not None and "steps" in self.model_fields_set:
            raise UserError("give either steps or epochs.", code="conflicting-options", field="steps")
        if self.epochs is None:
            refuse_long_warmup(self)
        refuse_impossible(self)
        return self
