"""Logs of a run, steps.jsonl and validation.jsonl: the fields of a line, readers and writers."""

# no `from __future__ import annotations`: a TypedDict does not recognise NotRequired in a string annotation
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NotRequired, TypedDict, cast

from snrlab.core.errors import UserError
from snrlab.files.writing import write_atomically


class StepLine(TypedDict):
    """A line of steps.jsonl: what one optimizer step did.

    `t`, `mse`, `weight` and `correction` have one value per slot of the global batch; `mse` is unweighted. `loss` is
    the mean of weight x mse x correction. `bands` has the mean of `mse` per SNR band, None for a band without a slot.
    `drawn` has the probability of each band if timesteps are sampled from another distribution than the density.
    `stage` is the step at which the recipe last changed.
    """

    step: int
    epoch: int
    loss: float
    lr: float
    grad_norm: float
    t: list[int]
    mse: list[float]
    weight: list[float]
    bands: dict[str, float | None]
    stage: NotRequired[int]
    correction: NotRequired[list[float]]
    drawn: NotRequired[dict[str, float]]
    seconds: NotRequired[float]
    memory_mb: NotRequired[int]


class EstimateLine(TypedDict):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


class ValidationLine(TypedDict):
    """A line of validation.jsonl: unweighted errors on the validation set after `step` steps.

    `bands` has the mean per SNR band, `errors` each image's error per band, in the order of `images`. `against_base`
    and `against_previous` have the change since the first and since the previous validation, paired by image.
    """

    step: int
    bands: dict[str, EstimateLine]
    images: list[str]
    errors: dict[str, list[float]]
    against_base: NotRequired[dict[str, EstimateLine]]
    against_previous: NotRequired[dict[str, EstimateLine]]


def read_steps(path: Path) -> Iterator[StepLine]:
    """The lines of a steps.jsonl.

    Raises:
        UserError: a line that is not the last cannot be read.
    """
    return cast("Iterator[StepLine]", _read_lines(path))


def read_validation(path: Path) -> Iterator[ValidationLine]:
    """The lines of a validation.jsonl.

    Raises:
        UserError: a line that is not the last cannot be read.
    """
    return cast("Iterator[ValidationLine]", _read_lines(path))


def open_step_log(path: Path, done: int) -> IO[str]:
    """Open steps.jsonl for appending, truncated to its first `done` lines."""
    if path.exists():
        with path.open("rb+") as file:
            for _ in range(done):
                file.readline()
            file.truncate()
    return path.open("a", encoding="utf-8", newline="\n", buffering=1)  # line by line, so that the log can be followed


def open_validation_log(path: Path, done: int) -> IO[str]:
    """Open validation.jsonl for appending, truncated to the lines up to step `done`; 0 empties it."""
    if path.exists():
        lines = [line for line in read_validation(path) if done and line["step"] <= done]
        write_atomically(path, "".join(json.dumps(line) + "\n" for line in lines).encode())
    return path.open("a", encoding="utf-8", newline="\n", buffering=1)


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Records of a log, none if the file is missing; a last line that a kill cut off is skipped."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith("\n"):
                return
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            if not isinstance(record, dict):
                raise UserError(
                    f"{path}: line {number} is damaged. Delete the lines from there on to read the others.",
                    code="damaged-file",
                )
            yield record
