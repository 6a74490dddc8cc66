"""Readers of a run while it trains: its log files, and trackers that show them elsewhere."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from snrlab.core.errors import UserError
from snrlab.runs.folder import RunFolder
from snrlab.runs.logs import open_step_log, open_validation_log
from snrlab.train.job import Job
from snrlab.train.outputs.live_report import LiveReport
from snrlab.train.outputs.trackers import Trackers, open_trackers


@dataclass(frozen=True)
class Readers:
    """The open logs, trackers and report of a run; `validation` is None where nothing is validated."""

    log: IO[str]
    validation: IO[str] | None
    trackers: Trackers
    report: LiveReport


@contextmanager
def open_readers(job: Job, folder: RunFolder, done: int, started: datetime) -> Iterator[Readers]:
    """Open the logs, trackers and report of a run; outside the main process they discard everything."""
    if not job.processes.main:
        no_trackers = Trackers([], job.draws.tables, 1)
        with Path(os.devnull).open("w", encoding="utf-8") as log:
            yield Readers(log, log if job.validation_set else None, no_trackers, LiveReport(job, folder, started))
        return
    with (
        _open_trackers_or_clean_up(job, folder, done) as trackers,
        open_step_log(folder.steps_file, done) as log,
        open_validation_log(folder.validation_file, done) if job.validation_set else nullcontext() as validation,
        LiveReport(job, folder, started) as report,
    ):
        yield Readers(log, validation, trackers, report)


def _open_trackers_or_clean_up(job: Job, folder: RunFolder, done: int) -> Trackers:
    """The trackers of a run; if one does not start, a run folder without any step is removed."""
    try:
        return open_trackers(job.config, folder, job.draws.tables, done)
    except UserError:
        if not folder.steps_file.exists():
            shutil.rmtree(folder.path, ignore_errors=True)
        raise
