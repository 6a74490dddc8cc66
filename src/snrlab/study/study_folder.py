"""The folder of a study, which is all that there is of it: study.toml, base.toml, cells/, results.jsonl, reports."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from snrlab.core.errors import UserError
from snrlab.files.text import read_json_list, read_text
from snrlab.files.writing import write_atomically
from snrlab.runs.folder import RunFolder


class Measurement(TypedDict):
    """The metrics after `step` steps."""

    step: int
    metrics: dict[str, float]


class CellResult(TypedDict):
    """A line of results.jsonl.

    `images` and `timesteps` are fingerprints of the pictures that were read and of the timesteps that were trained.
    """

    arm: str
    seed: int
    steps: int
    images: str
    timesteps: str
    measurements: list[Measurement]


_RESULT = TypeAdapter(CellResult)


@dataclass(frozen=True)
class StudyFolder:
    """Paths of the files of a study."""

    path: Path

    @property
    def study_file(self) -> Path:
        """The study file, as it was when the study started; `--add-seeds` adds seeds to it."""
        return self.path / "study.toml"

    @property
    def base_file(self) -> Path:
        """The base run file, as it was when the study started."""
        return self.path / "base.toml"

    @property
    def cells(self) -> Path:
        """Folder of the run folders."""
        return self.path / "cells"

    @property
    def results_file(self) -> Path:
        """One JSON object for each finished cell, in the order of the plan."""
        return self.path / "results.jsonl"

    @property
    def looks_file(self) -> Path:
        """Numbers of seeds at which a verdict was given."""
        return self.path / "looks.json"

    @property
    def report(self) -> Path:
        """HTML report."""
        return self.path / "report.html"

    @property
    def markdown_report(self) -> Path:
        """The report for a repository."""
        return self.path / "report.md"

    @property
    def json_report(self) -> Path:
        """The report for programs."""
        return self.path / "report.json"

    def run(self, name: str) -> RunFolder:
        """The run folder of a cell."""
        return RunFolder(self.cells / name)

    def run_file(self, name: str) -> Path:
        """The run file that a cell is started from."""
        return self.cells / f"{name}.toml"

    def log_file(self, name: str) -> Path:
        """What a cell has printed."""
        return self.cells / f"{name}.log"

    def read_looks(self) -> list[int]:
        """Numbers of seeds at which a verdict was given so far, in order."""
        if not os.path.lexists(self.looks_file):
            return []
        looks = read_json_list(self.looks_file)
        if not all(isinstance(look, int) for look in looks):
            raise UserError(
                f"{self.looks_file.name} is damaged: it holds the numbers of seeds at which a verdict was given.",
                code="damaged-file",
            )
        return looks

    def write_looks(self, looks: Sequence[int]) -> None:
        """Note the numbers of seeds at which verdicts were given."""
        write_atomically(self.looks_file, (json.dumps(list(looks)) + "\n").encode())

    def read_results(self) -> list[CellResult]:
        """The lines of results.jsonl, none where it is missing.

        Raises:
            UserError: it is damaged; the message names the line.
        """
        if not os.path.lexists(self.results_file):
            return []
        results = []
        for number, line in enumerate(read_text(self.results_file).splitlines(), 1):
            try:
                results.append(_RESULT.validate_json(line, strict=True))
            except ValidationError:
                raise UserError(
                    f"{self.results_file.name} is damaged: line {number} is no result of a cell. Delete the line, and "
                    "the study reads it from the cell again.",
                    code="damaged-file",
                ) from None
        return results

    def write_results(self, results: Sequence[CellResult]) -> None:
        """Write results.jsonl."""
        write_atomically(self.results_file, "".join(json.dumps(line) + "\n" for line in results).encode())
