"""Whether the held-out losses of two runs can be compared, image by image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from snrlab.lab.run_comparison.run_record import RunRecord
from snrlab.model_files.resolve import resolve_to_show
from snrlab.runs.logs import ValidationLine

ObstacleCode = Literal[
    "no-validation", "no-common-step", "other-model", "other-schedule", "other-size", "other-images", "other-captions",
    "other-order", "too-few-images", "not-finite",
]  # fmt: skip


@dataclass(frozen=True)
class PairingObstacle:
    """The reason why two losses are not compared: a code for programs and a sentence for readers."""

    code: ObstacleCode
    message: str


@dataclass(frozen=True)
class MeasuredPair:
    """Measurements of two runs that can be compared image by image, and the base model's (None if not measured)."""

    first: ValidationLine
    second: ValidationLine
    before: ValidationLine | None


def pair(one: RunRecord, other: RunRecord) -> MeasuredPair | PairingObstacle:
    """The measurements of two runs to compare, or why there are none.

    Finished runs are compared at their ends; where one of them is not, at the last step that both measured.
    """
    for record in (one, other):
        if not record.validation:
            return PairingObstacle(
                "no-validation",
                f"{record.label} measured no held-out images. Train with validation.images or validation.folder.",
            )
    lines = _lines_to_compare(one, other)
    if isinstance(lines, PairingObstacle):
        return lines
    obstacle = _different_task(one, other) or _different_images(one, other, *lines) or _unusable(one, other, *lines)
    if obstacle:
        return obstacle
    start = one.validation[0]
    return MeasuredPair(*lines, start if start["step"] == 0 else None)


def _lines_to_compare(one: RunRecord, other: RunRecord) -> tuple[ValidationLine, ValidationLine] | PairingObstacle:
    if one.finished and other.finished:
        return one.validation[-1], other.validation[-1]
    common = {line["step"] for line in one.validation} & {line["step"] for line in other.validation}
    if not common or max(common) == 0:
        unfinished = " and ".join(record.label for record in (one, other) if not record.finished)
        return PairingObstacle(
            "no-common-step",
            f"{unfinished}: not finished, and no step after the start was measured in both runs.",
        )
    return one.measured_at(max(common)), other.measured_at(max(common))


def _different_task(one: RunRecord, other: RunRecord) -> PairingObstacle | None:
    names = f"{one.label} and {other.label}"
    if _model_of(one) != _model_of(other):
        return PairingObstacle(
            "other-model",
            f"{names} were trained from different base models, each with its own latents. Their losses do not compare.",
        )
    schedules = [resolve_to_show(record.config).recipe.noise_schedule() for record in (one, other)]
    if not np.array_equal(schedules[0].alphas_cumprod, schedules[1].alphas_cumprod):
        return PairingObstacle(
            "other-schedule",
            f"{names} have different noise schedules, so they measured at different noise levels.",
        )
    if one.config.data.size != other.config.data.size or one.config.data.buckets != other.config.data.buckets:
        return PairingObstacle(
            "other-size", f"{names} scaled their images to different sizes. Their losses do not compare."
        )
    return None


def _model_of(record: RunRecord) -> object:
    """The base model: the hashes of its files where they are recorded, else how it is named."""
    model = record.config.model
    seed = record.config.seed if model.random else None
    return sorted(record.model.values()) or (model.path, model.shipped, model.random, seed, model.vae)


def _different_images(
    one: RunRecord, other: RunRecord, first: ValidationLine, second: ValidationLine
) -> PairingObstacle | None:
    names, (held_1, held_2) = f"{one.label} and {other.label}", (one.held_out, other.held_out)
    recorded = held_1 is not None and held_2 is not None
    same_pictures = sorted(first["images"]) == sorted(second["images"])
    if held_1 is not None and held_2 is not None:
        pictures = [{name: hashes[0] for name, hashes in held.items()} for held in (held_1, held_2)]
        same_pictures = same_pictures and pictures[0] == pictures[1]
    if not same_pictures:
        return PairingObstacle(
            "other-images",
            f"{names} measured different held-out images. validation.images picks them by the seed: use the same seed, "
            "or one validation.folder for all runs.",
        )
    if recorded and held_1 != held_2:
        return PairingObstacle("other-captions", f"{names} measured the same images with different captions.")
    if first["images"] != second["images"]:
        return PairingObstacle(
            "other-order", f"{names} measured the same images in another order, and therefore with other noise."
        )
    return None


def _unusable(
    one: RunRecord, other: RunRecord, first: ValidationLine, second: ValidationLine
) -> PairingObstacle | None:
    if len(first["images"]) < 2:
        return PairingObstacle(
            "too-few-images", "One held-out image gives no interval. Train with validation.images = 2 or more."
        )
    for record, line in ((one, first), (other, second)):
        if not np.isfinite([*line["errors"].values()]).all():
            return PairingObstacle("not-finite", f"{record.label} diverged: its held-out loss is not a finite number.")
    return None
