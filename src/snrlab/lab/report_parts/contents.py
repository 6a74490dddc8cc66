"""Content of a run folder that its report is made from."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snrlab.config import RunConfig
from snrlab.files.writing import format_bytes
from snrlab.runs.folder import RunFolder
from snrlab.runs.logs import StepLine, ValidationLine, read_steps, read_validation
from snrlab.runs.sessions import Session, read_sessions
from snrlab.runs.status import RunState, run_status


@dataclass(frozen=True)
class LinkedFile:
    """A file or folder of the run that the report links to.

    Attributes:
        path: relative to the run folder, with forward slashes.
        size: its size in words; empty where it is not a file that people copy.
    """

    path: str
    size: str = ""


@dataclass(frozen=True)
class ReportContents:
    """Content of a run folder for its report.

    Attributes:
        state: whether the run is running, finished, stopped or broken.
        records: lines of the step log.
        validation: lines of validation.jsonl.
        samples: single pictures of the prompts, in their order, by step.
        evaluation: content of evaluation.json, or None if there is none.
        comparison: the PNG next to evaluation.json, or None if there is none.
        images: number of images that are trained on; None if that is not recorded.
        result: the finished LoRA or model, or None before the end.
        files: other files to link to.
        sessions: when and on which machine the run has trained; empty where it writes no dates.
    """

    state: RunState
    records: list[StepLine]
    validation: list[ValidationLine]
    samples: Mapping[int, list[Path]]
    evaluation: dict[str, Any] | None = None
    comparison: bytes | None = None
    images: int | None = None
    result: LinkedFile | None = None
    files: tuple[LinkedFile, ...] = ()
    sessions: tuple[Session, ...] = field(default=())

    @property
    def done(self) -> int:
        """Optimizer steps that have been taken."""
        return self.records[-1]["step"] + 1 if self.records else 0


def read_contents(run: RunFolder, config: RunConfig, state: RunState | None = None) -> ReportContents:
    """Read a run folder for its report.

    Args:
        run: a started run.
        config: its configuration.
        state: what the caller knows the run to be; by default what the folder says.
    """
    result, evaluation, comparison = run.result(config), run.evaluation_file, run.comparison_file
    if state is None:
        state = "finished" if result.exists() else run_status(run).state
    return ReportContents(
        state=state,
        records=list(read_steps(run.steps_file)),
        validation=list(read_validation(run.validation_file)),
        samples=run.sample_images(),
        evaluation=json.loads(evaluation.read_text(encoding="utf-8")) if evaluation.exists() else None,
        comparison=comparison.read_bytes() if comparison.exists() else None,
        images=_count_images(run),
        result=_linked(run, result, sized=True) if result.exists() else None,
        files=(
            *(_linked(run, file, sized=True) for file in _results_on_the_way(run, config)),
            *(_linked(run, file) for file in _other_files(run) if file.exists()),
        ),
        sessions=tuple(read_sessions(run.sessions_file)),
    )


def _results_on_the_way(run: RunFolder, config: RunConfig) -> list[Path]:
    return [run.intermediate_result(config, step) for step in run.intermediate_steps(config)]


def _other_files(run: RunFolder) -> tuple[Path, ...]:
    return (run.card_file, run.config_file, run.steps_file, run.validation_file, run.samples, run.checkpoints)


def _linked(run: RunFolder, file: Path, *, sized: bool = False) -> LinkedFile:
    """A link to a file; only a result has its size, since that of a log or a run file follows from paths and times."""
    name = file.relative_to(run.path).as_posix()
    if file.is_dir():
        return LinkedFile(f"{name}/")
    return LinkedFile(name, short_size(file.stat().st_size) if sized else "")


def short_size(size: int) -> str:
    """A size in bytes with its unit.

    >>> short_size(800), short_size(3 * 2**20)
    ('1 kB', '3.0 MB')
    """
    return f"{math.ceil(size / 1000)} kB" if size < 2**20 else format_bytes(size)


def _count_images(run: RunFolder) -> int | None:
    """The number of images trained on, by the record of a run's inputs."""
    if not run.sources_file.exists():
        return None
    return len(json.loads(run.sources_file.read_text(encoding="utf-8"))["images"])
