"""The folder of a study, which is all that there is of it: study.toml, base.toml, cells/, results.jsonl, reports."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snrlab.files.writing import write_atomically
from snrlab.runs.folder import RunFolder


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
        return list(json.loads(self.looks_file.read_text(encoding="utf-8"))) if self.looks_file.exists() else []

    def write_looks(self, looks: Sequence[int]) -> None:
        """Note the numbers of seeds at which verdicts were given."""
        write_atomically(self.looks_file, (json.dumps(list(looks)) + "\n").encode())

    def read_results(self) -> list[dict[str, Any]]:
        """The lines of results.jsonl."""
        if not self.results_file.exists():
            return []
        return [json.loads(line) for line in self.results_file.read_text(encoding="utf-8").splitlines()]

    def write_results(self, results: Sequence[dict[str, Any]]) -> None:
        """Write results.jsonl."""
        write_atomically(self.results_file, "".join(json.dumps(line) + "\n" for line in results).encode())
