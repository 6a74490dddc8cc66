"""What follows a run while it trains: its logs, and the trackers that show them elsewhere."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from snrlab.core.errors import UserError
from snrlab.runs.folder import RunFolder
from snrlab.runs.logs import open_step_log, open_validation_log
from snrlab.train.job import Job
from snrlab.train.outputs.trackers import Trackers, open_trackers


@dataclass(frozen=True)
class Readers:
    """What follows a run while it trains."""

    log: IO[str]
    validation: IO[str] | None
    trackers: Trackers


@contextmanager
def open_readers(job: Job, folder: RunFolder, done: int) -> Iterator[Readers]:
    """What follows the run; in all but the main process it leads nowhere."""
    if not job.processes.main:
        nowhere = Trackers([], job.draws.tables, 1)
        with Path(os.devnull).open("w", encoding="utf-8") as log:
            yield Readers(log, log if job.held_back else None, nowhere)
        return
    with (
        _trackers(job, folder, done) as trackers,
        open_step_log(folder.steps_file, done) as log,
        open_validation_log(folder.validation_file, done) if job.held_back else nullcontext() as validation,
    ):
        yield Readers(log, validation, trackers)


def _trackers(job: Job, folder: RunFolder, done: int) -> Trackers:
    """The run's trackers; where one does not start, a folder that has nothing in it yet goes again."""
    try:
        return open_trackers(job.config, folder, job.draws.tables, done)
    except UserError:
        if not folder.steps_file.exists():
            shutil.rmtree(folder.path, ignore_errors=True)
        raise
