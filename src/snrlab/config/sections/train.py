"""[train]: method, optimizer, learning rate and steps."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from snrlab.config.sections.section import BATCH_RULE, FREE, Section
from snrlab.config.sections.strategy import LearningRateField, LossField, OptimizerField
from snrlab.core.errors import UserError
from snrlab.core.lr_schedules import LR_SCHEDULES
from snrlab.core.registries.tensor_registries import LOSSES, OPTIMIZERS, default_choice

ADAMW_PARAMETERS = ("beta1", "beta2", "weight_decay")
MIN_RATE_MULTIPLIER = 0.1  # for optimizers that find the rate: a lower learning_rate was meant for AdamW


def current_spelling(data: dict[str, Any]) -> dict[str, Any]:
    """[train] of an older run file in the current spelling.

    AdamW's parameters move into `optimizer`, `warmup_steps` becomes `warmup`, and the schedule
    `constant_with_warmup` becomes `constant`, of which it was another name.

    Raises:
        UserError: the old and the new spelling are mixed.
    """
    updated = dict(data)
    moved = {name: updated.pop(name) for name in ADAMW_PARAMETERS if name in updated}
    if moved:
        parameters = ", ".join(f"{name} = {value}" for name, value in moved.items())
        if "optimizer" in updated:
            raise UserError(
                f'{", ".join(moved)}: write optimizer = {{ name = "adamw", {parameters} }}, in one place.',
                code="unknown-key",
            )
        updated["optimizer"] = {"name": "adamw", **moved}
    if "warmup_steps" in updated:
        if "warmup" in updated:
            raise UserError(
                "warmup_steps is the older name of warmup; give one of them.",
                code="conflicting-options",
                field="warmup",
            )
        updated["warmup"] = updated.pop("warmup_steps")
    if updated.get("lr_schedule") in ("constant_with_warmup", {"name": "constant_with_warmup"}):
        updated["lr_schedule"] = "constant"
    return updated


def warmup_steps(warmup: object, steps: int) -> int:
    """Warm-up in steps, from steps, a fraction of all steps, or per cent.

    >>> [warmup_steps(w, 1000) for w in (50, 0.05, "5%")]
    [50, 50, 50]
    """
    match warmup:
        case bool():
            fraction = -1.0
        case int() if warmup >= 0:
            return warmup
        case float():
            fraction = warmup
        case str() if warmup.strip().endswith("%"):
            fraction = _parse_per_cent(warmup.strip())
        case _:
            fraction = -1.0
    if not 0 <= fraction < 1:
        raise UserError(
            f'{warmup!r} is no warm-up; write whole steps, a part of all below 1, or per cent as "10%".',
            code="invalid-syntax",
        )
    return int(round(fraction * steps, 6))  # 0.29 x 100 is 29, although its float is a little less


def _parse_per_cent(text: str) -> float:
    try:
        return float(text.removesuffix("%")) / 100
    except ValueError:
        return -1.0


def refuse_long_warmup(train: TrainConfig) -> None:
    """Refuse a warm-up as long as the whole training (UserError)."""
    if train.warmup_steps >= train.steps:
        raise UserError(
            f"warmup is {train.warmup_steps} steps; it must be below steps, {train.steps}.",
            code="out-of-range",
            field="warmup",
        )


def refuse_foreign_schedule(value: Any) -> None:
    """Refuse kohya's `adafactor` schedule, with the reason (UserError)."""
    name = value.get("name") if isinstance(value, dict) else value
    if isinstance(name, str) and name.partition(":")[0] == "adafactor":
        raise UserError(
            "adafactor is the optimizer's own relative step size, which ignores learning_rate and every schedule. "
            'Choose a schedule such as "constant", and learning_rate for what it should be.',
            code="not-supported",
            field="lr_schedule",
        )


def refuse_impossible(train: TrainConfig) -> None:
    """Refuse options that exclude each other or would have no effect (UserError)."""
    name, optimizer = train.optimizer.name, train.optimizer.entry.properties
    if optimizer.own_schedule and not train.lr_schedule.entry.properties.flat:
        raise UserError(
            f'{name} needs no schedule, its averages take that place: set lr_schedule = "constant".',
            code="conflicting-options",
            field="lr_schedule",
        )
    if optimizer.finds_rate and train.learning_rate < MIN_RATE_MULTIPLIER:
        raise UserError(
            f"{name} finds the rate itself, and learning_rate, here {train.learning_rate:g}, multiplies it: "
            "set learning_rate = 1.0.",
            code="conflicting-options",
            field="learning_rate",
        )
    rates = {f"{part}_learning_rate": train.rate(part) for part in train.parts}
    if optimizer.one_rate and len(set(rates.values())) > 1:
        listed = ", ".join(f"{field} = {rate:g}" for field, rate in rates.items())
        different = next(field for field, rate in rates.items() if rate != train.learning_rate)
        raise UserError(
            f"{name} finds one rate for all weights, but there are several: {listed}. Leave them out.",
            code="conflicting-options",
            field=different,
        )
    if optimizer.averages and train.ema is not None:
        raise UserError(f"{name} averages the weights already; remove ema.", code="conflicting-options", field="ema")
    if train.fused_backward or train.weights == "bf16":
        _check_separate_updates(train)
    if train.fused_backward:
        _check_fused_backward(train)


def _check_separate_updates(train: TrainConfig) -> None:
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


def _check_fused_backward(train: TrainConfig) -> None:
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
    """[train]: method, optimizer, learning rate and steps."""

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
        default_factory=lambda: default_choice(OPTIMIZERS, "adamw"), description="What turns gradients into updates."
    )
    warmup: int | float | str = Field(
        0, description='Steps over which the learning rate rises from 0: a number, or a part of all, 0.05 or "5%".'
    )
    lr_schedule: LearningRateField = Field(
        default_factory=lambda: LR_SCHEDULES.bind("cosine"), description="Learning rate after warm-up."
    )
    loss: LossField = Field(
        default_factory=lambda: default_choice(LOSSES, "mse"), description="What is made of each element's error."
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
        """Length of the warm-up in steps."""
        return warmup_steps(self.warmup, self.steps)

    def in_steps(self, examples: int, processes: int = 1) -> TrainConfig:
        """This section with `epochs` converted to steps, for a number of examples and processes; rounded up.

        Raises:
            UserError: the warm-up is not shorter than the training.

        >>> TrainConfig(epochs=3, batch_size=4).in_steps(10).steps
        8
        """
        if self.epochs is None:
            return self
        slots = self.batch_size * self.gradient_accumulation * processes
        converted = self.model_copy(update={"steps": -(-self.epochs * examples // slots), "epochs": None})
        refuse_long_warmup(converted)
        return converted

    @model_validator(mode="before")
    @classmethod
    def _current_spelling(cls, data: Any) -> Any:
        return current_spelling(data) if isinstance(data, dict) else data

    @field_validator("warmup", mode="before")
    @classmethod
    def _check_warmup(cls, value: Any) -> Any:
        warmup_steps(value, 1)
        return value

    @field_validator("lr_schedule", mode="before")
    @classmethod
    def _check_schedule(cls, value: Any) -> Any:
        refuse_foreign_schedule(value)
        return value

    @property
    def parts(self) -> tuple[TrainedPart, ...]:
        """The networks that are trained, by their field names."""
        return tuple(part for part in _PARTS if getattr(self, part))

    @property
    def trains_text(self) -> bool:
        """Whether a text encoder is trained, so that its embeddings change from step to step."""
        return self.text_encoder or self.text_encoder_2

    def rate(self, part: TrainedPart) -> float:
        """The learning rate of a network after warm-up."""
        return getattr(self, f"{part}_learning_rate") or self.learning_rate

    @model_validator(mode="after")
    def _check_rates(self) -> TrainConfig:
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
    def _check_together(self) -> TrainConfig:
        if self.epochs is not None and "steps" in self.model_fields_set:
            raise UserError("give either steps or epochs.", code="conflicting-options", field="steps")
        if self.epochs is None:
            refuse_long_warmup(self)
        refuse_impossible(self)
        return self
