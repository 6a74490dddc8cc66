"""The logs of a run, steps.jsonl and validation.jsonl: what a line holds, reading them, and appending to them."""

# no annotations from __future__: a TypedDict cannot tell NotRequired in a string
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NotRequired, TypedDict, cast

from snrlab.core.errors import UserError
from snrlab.files.writing import write_atomically


class StepLine(TypedDict):
    """A line of steps.jsonl: what one optimizer step did.

    `t`, `mse`, `weight` and `correction` have one value for each slot of the global batch; `mse` is unweighted. `loss`
    is the mean of weight x mse x correction. `bands` has the mean of `mse` by SNR band, None where no slot was in it.
    `drawn` has the probability of each band where timesteps are drawn from something else than the density. `stage` is
    the step at which the recipe last changed.
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
    """A line of validation.jsonl: unweighted errors on images that are not trained on, after `step` steps.

    `bands` has the mean by SNR band, `errors` every image's error by band, in the order of `images`. `against_base` and
    `against_previous` have the change since the first and since the last measurement, in pairs of the same image.
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
    """steps.jsonl for appending, cut back to its first `done` lines."""
    if path.exists():
        with path.open("rb+") as file:
            for _ in range(done):
                file.readline()
            file.truncate()
    return path.open("a", encoding="utf-8", newline="\n", buffering=1)  # a line a step, for who reads along


def open_validation_log(path: Path, done: int) -> IO[str]:
    """validation.jsonl for appending, cut back to what was measured up to step `done`; 0 starts it anew."""
    if path.exists():
        kept = [line for line in read_validation(path) if done and line["step"] <= done]
        write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept).encode())
    return path.open("a", encoding="utf-8", newline="\n", buffering=1)


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a log; none of one that is not there. A last line that was cut off, as by a kill, is left out."""
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
