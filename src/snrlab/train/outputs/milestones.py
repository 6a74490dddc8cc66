"""Milestones of a run: validation, sample pictures and saved results, when they are due."""

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
from snrlab.progress import doing, timed
from snrlab.runs.folder import RunFolder
from snrlab.runs.logs import read_validation
from snrlab.train.job import Job
from snrlab.train.outputs.export import export_result
from snrlab.train.outputs.intervals import is_due
from snrlab.train.outputs.observers import Readers
from snrlab.train.outputs.samples import draw_samples
from snrlab.train.outputs.trackers import Trackers
from snrlab.train.outputs.validation import validate

logger = logging.getLogger(__name__)


def before_training(job: Job, folder: RunFolder, readers: Readers) -> None:
    """Sample and validate the model before the first step."""
    readers.report.update()
    if job.config.sample.at_start:
        sample_milestone(job, folder, 0, readers.trackers, logging.INFO)
    if job.validation_set is not None:
        logger.info(f"measuring {len(job.validation_set.names)} images that are not trained on ...")
    _validate(job, readers, 0)
    readers.report.update()


def is_work_due(job: Job, folder: RunFolder, done: int, readers: Readers) -> bool:
    """Whether `run_due_work` has anything to do after `done` steps."""
    return any(True for _ in _due_milestones(job, folder, done, readers))


def run_due_work(job: Job, folder: RunFolder, done: int, readers: Readers) -> None:
    """Validate, sample and save what is due after `done` steps, and then write the report anew."""
    due = list(_due_milestones(job, folder, done, readers))
    for milestone in due:
        milestone.run()
    if due:
        readers.report.update()


def catch_up(job: Job, folder: RunFolder, done: int, readers: Readers) -> None:
    """Do the work that was due after the checkpoint's step and is missing because the run stopped before it."""
    for milestone in _due_milestones(job, folder, done, readers):
        if not job.processes.on_main(milestone.is_done):
            milestone.run()
    readers.report.update()


class Milestone(NamedTuple):
    """Work that is due: whether it has been done, and how to do it."""

    is_done: Callable[[], bool]
    run: Callable[[], object]


def _due_milestones(job: Job, folder: RunFolder, done: int, readers: Readers) -> Iterator[Milestone]:
    """The work that is due after `done` steps."""
    config, last = job.config, done == job.config.train.steps
    if readers.validation is not None and (last or is_due(config.validation, job, done)):
        yield Milestone(lambda: _is_measured(readers, done), lambda: _validate(job, readers, done))
    if config.sample.prompts and not last and is_due(config.sample, job, done):
        yield Milestone(folder.grid_file(done).exists, lambda: sample_milestone(job, folder, done, readers.trackers))
    if not last and is_due(config.output, job, done):
        yield Milestone(folder.intermediate_result(config, done).exists, lambda: _export_and_prune(job, folder, done))


def _is_measured(readers: Readers, done: int) -> bool:
    lines = read_validation(Path(readers.validation.name)) if readers.validation is not None else ()
    return any(line["step"] == done for line in lines)


def _export_and_prune(job: Job, folder: RunFolder, done: int) -> None:
    if not job.processes.main:
        return
    path = folder.intermediate_result(job.config, done)
    with doing("saving the result"), timed(logger, f"wrote {path}"), job.averaged():
        export_result(job, path, done)
    _delete_surplus_results(folder, job.config)


def _validate(job: Job, readers: Readers, done: int) -> None:
    validation = readers.validation
    if validation is not None:
        with doing("validating"), timed(logger, f"measured after {done} steps"):
            line = validate(job, done)  # all processes together
        if not job.processes.main:
            return
        line = compared(line, list(read_validation(Path(validation.name))))
        validation.write(json.dumps(line) + "\n")
        validation.flush()
        os.fsync(validation.fileno())
        readers.trackers.validation(line)


def sample_milestone(job: Job, folder: RunFolder, done: int, trackers: Trackers, level: int = logging.DEBUG) -> None:
    """Sample the run's prompts after `done` steps, if it has any; `level` is that of the log line."""
    if job.config.sample.prompts and job.processes.main:
        logger.log(level, f"drawing {counted(len(job.config.sample.prompts), 'picture')} ...")
        with doing("drawing samples"), timed(logger, f"drew after {done} steps"), job.averaged():
            trackers.pictures(draw_samples(job, folder.grid_file(done)), done)


def _delete_surplus_results(folder: RunFolder, config: RunConfig) -> None:
    """Delete the intermediate results beyond output.keep_last."""
    keep = config.output.keep_last
    for step in folder.intermediate_steps(config)[: -keep if keep else 0]:
        old = folder.intermediate_result(config, step)
        shutil.rmtree(old) if old.is_dir() else old.unlink()
