"""What is measured, drawn and saved while a run trains, when its turn has come."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from snrlab.config import RunConfig
from snrlab.data.image_folder import counted
from snrlab.lab.statistics import compared
from snrlab.progress import timed
from snrlab.runs.folder import RunFolder
from snrlab.runs.logs import read_validation
from snrlab.train.job import Job
from snrlab.train.outputs.export import export_result
from snrlab.train.outputs.intervals import is_due
from snrlab.train.outputs.readers import Readers
from snrlab.train.outputs.samples import draw_samples
from snrlab.train.outputs.trackers import Trackers
from snrlab.train.outputs.validation import validate

logger = logging.getLogger(__name__)


def before_training(job: Job, folder: RunFolder, readers: Readers) -> None:
    """What the model makes and how it measures before the first step."""
    if job.config.sample.at_start:
        sample_milestone(job, folder, 0, readers.trackers, logging.INFO)
    if job.held_back is not None:
        logger.info(f"measuring {len(job.held_back.names)} images that are not trained on ...")
    _validate(job, readers, 0)


def is_work_due(job: Job, folder: RunFolder, done: int, readers: Readers) -> bool:
    """Whether `run_due_work` has anything to do after `done` steps."""
    return any(True for _ in _turns(job, folder, done, readers))


def run_due_work(job: Job, folder: RunFolder, done: int, readers: Readers) -> None:
    """What is measured, drawn and saved after a step where its turn has come."""
    for turn in _turns(job, folder, done, readers):
        turn.act()


def catch_up(job: Job, folder: RunFolder, done: int, readers: Readers) -> None:
    """What was due after the step of the checkpoint and is not there: the run stopped before it was made."""
    for turn in _turns(job, folder, done, readers):
        if not job.processes.first(turn.there):
            turn.act()


class Milestone(NamedTuple):
    """Something that is due: whether it is there, and how it is made."""

    there: Callable[[], bool]
    act: Callable[[], object]


def _turns(job: Job, folder: RunFolder, done: int, readers: Readers) -> Iterator[Milestone]:
    """What is due after a step."""
    config, last = job.config, done == job.config.train.steps
    if readers.validation is not None and (last or is_due(config.validation, job, done)):
        yield Milestone(lambda: _measured(readers, done), lambda: _validate(job, readers, done))
    if config.sample.prompts and not last and is_due(config.sample, job, done):
        yield Milestone(folder.grid_file(done).exists, lambda: sample_milestone(job, folder, done, readers.trackers))
    if not last and is_due(config.output, job, done):
        yield Milestone(folder.on_the_way(config, done).exists, lambda: _export(job, folder, done))


def _measured(readers: Readers, done: int) -> bool:
    lines = read_validation(Path(readers.validation.name)) if readers.validation is not None else ()
    return any(line["step"] == done for line in lines)


def _export(job: Job, folder: RunFolder, done: int) -> None:
    if not job.processes.main:
        return
    path = folder.on_the_way(job.config, done)
    with timed(logger, f"wrote {path}"), job.averaged():
        export_result(job, path, done)
    _drop_old(folder, job.config)


def _validate(job: Job, readers: Readers, done: int) -> None:
    validation = readers.validation
    if validation is not None:
        with timed(logger, f"measured after {done} steps"):
            found = validate(job, done)  # all processes together
        if not job.processes.main:
            return
        line = compared(found, list(read_validation(Path(validation.name))))
        validation.write(json.dumps(line) + "\n")
        validation.flush()
        os.fsync(validation.fileno())
        readers.trackers.validation(line)


def sample_milestone(job: Job, folder: RunFolder, done: int, trackers: Trackers, level: int = logging.DEBUG) -> None:
    """Draw the run's prompts after `done` steps, where it has any; `level` is that of the line that says so."""
    if job.config.sample.prompts and job.processes.main:
        logger.log(level, f"drawing {counted(len(job.config.sample.prompts), 'picture')} ...")
        with timed(logger, f"drew after {done} steps"), job.averaged():
            trackers.pictures(draw_samples(job, folder.grid_file(done)), done)


def _drop_old(folder: RunFolder, config: RunConfig) -> None:
    """Delete the results saved on the way that are too many."""
    keep = config.output.keep_last
    for step in folder.steps_on_the_way(config)[: -keep if keep else 0]:
        old = folder.on_the_way(config, step)
        shutil.rmtree(old) if old.is_dir() else old.unlink()
