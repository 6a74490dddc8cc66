"""A run from start to finish: folder, pre-flight, loop, log, checkpoints, samples, result, report."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from snrlab.config import RunConfig
from snrlab.core.errors import UserError
from snrlab.lab.card import write_card
from snrlab.lab.comparison import compared
from snrlab.lab.report import write_report
from snrlab.train import checkpoint, run_folder
from snrlab.train.export import export
from snrlab.train.interrupt import stop_on_interrupt
from snrlab.train.job import Job, prepare
from snrlab.train.loop import steps
from snrlab.train.pictures import draw
from snrlab.train.preflight import preflight, refuse_early
from snrlab.train.rhythm import due
from snrlab.train.run_folder import RunFolder
from snrlab.train.telemetry import Display, record
from snrlab.train.trackers import Trackers, open_trackers
from snrlab.train.validation import validate

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """How a run ended: where it is, and whether it is finished or was stopped by the user."""

    folder: RunFolder
    config: RunConfig
    finished: bool


@dataclass(frozen=True)
class Readers:
    """What follows a run while it trains."""

    log: IO[str]
    validation: IO[str] | None
    trackers: Trackers


def run(config: RunConfig, out: Path, *, resume: bool = False, say: Say = print) -> Outcome:
    """Train as configured into `out/<name>`.

    Raises:
        UserError: anything that is the user's to mend; nothing has been written where it is found
            before the first step.
    """
    folder, config = run_folder.choose(out, config, resume=resume)
    if folder.started and folder.finished:
        say(f"{folder.path} is finished already.")
        return Outcome(folder, config, finished=True)
    started = datetime.now(UTC)
    job = _ready(config, folder, say)
    run_folder.start(folder, job.config)
    done = checkpoint.restore(job, folder.checkpoints)
    if done:
        say(f"resuming {folder.path} at step {done}")
    with (
        _trackers(job, folder, done) as trackers,
        run_folder.open_log(folder.steps_file, done) as log,
        run_folder.open_validation(folder.validation_file, done) if job.held_back else nullcontext() as validation,
    ):
        readers = Readers(log, validation, trackers)
        if not done:
            _before_training(job, folder, readers)
        finished = _train(job, folder, done, readers, say)
        if not finished:
            return Outcome(folder, job.config, finished=False)
        _sample(job, folder, job.config.train.steps, trackers)
    _finish(job, folder, started)
    say(f"wrote {folder.result(job.config)}")
    return Outcome(folder, job.config, finished=True)


def check(config: RunConfig, out: Path, *, say: Say = print) -> None:
    """Do all that comes before the first step of a run, say what was found, and leave nothing behind.

    Raises:
        UserError: whatever would keep the run from starting or from being saved.
    """
    folder, config = run_folder.choose(out, config, resume=True)
    _ready(config, folder, say, thorough=True)


def _ready(config: RunConfig, folder: RunFolder, say: Say, *, thorough: bool = False) -> Job:
    """The job after its pre-flight."""
    refuse_early(config, folder)
    job = prepare(config, say)
    for finding in job.found:
        say(str(finding))
    for line in preflight(job, folder, thorough=thorough):
        say(line)
    return job


def _trackers(job: Job, folder: RunFolder, done: int) -> Trackers:
    """The run's trackers; where one does not start, a folder that has nothing in it yet goes again."""
    try:
        return open_trackers(job.config, folder, job.objective.draws.tables, done)
    except UserError:
        if not done:
            shutil.rmtree(folder.path)
        raise


def _train(job: Job, folder: RunFolder, done: int, readers: Readers, say: Say) -> bool:
    """Take every step that is left; False where the user stopped it, with a checkpoint at that step."""
    train, tables = job.config.train, job.objective.draws.tables
    display = Display(train.steps, done, say)
    before = time.monotonic()
    try:
        with stop_on_interrupt(say) as stopping:
            for step in steps(job, done):
                now = time.monotonic()
                line = record(step, tables, now - before if job.config.output.dates else None)
                readers.log.write(json.dumps(line) + "\n")
                readers.trackers.step(line)
                display.update(step)
                done = step.index + 1
                stop = stopping() and done < train.steps
                _on_the_way(job, folder, done, readers)
                if stop or done == train.steps or done % train.checkpoint_every == 0:
                    readers.log.flush()
                    os.fsync(readers.log.fileno())  # the log reaches the disk before the checkpoint that counts on it
                    checkpoint.save(job, folder.checkpoints, done)
                if stop:
                    say(f"stopped after step {done}; the same command with --resume goes on.")
                    return False
                before = time.monotonic()  # a step's time is its own, without what is written after it
    finally:
        display.close()
    return True


def _before_training(job: Job, folder: RunFolder, readers: Readers) -> None:
    """What the model makes and how it measures before the first step."""
    if job.config.sample.at_start:
        _sample(job, folder, 0, readers.trackers)
    _validate(job, readers, 0)


def _on_the_way(job: Job, folder: RunFolder, done: int, readers: Readers) -> None:
    """What is measured, drawn and saved after a step where its turn has come."""
    config, last = job.config, done == job.config.train.steps
    if last or due(config.validation, job, done):
        _validate(job, readers, done)
    if not last and due(config.sample, job, done):
        _sample(job, folder, done, readers.trackers)
    if not last and due(config.output, job, done):
        with job.averaged():
            export(job, folder.on_the_way(config, done), done)
        _drop_old(folder, config)


def _validate(job: Job, readers: Readers, done: int) -> None:
    validation = readers.validation
    if validation is not None:
        line = compared(validate(job, done), list(run_folder.read_log(Path(validation.name))))
        validation.write(json.dumps(line) + "\n")
        validation.flush()
        os.fsync(validation.fileno())
        readers.trackers.validation(line)


def _sample(job: Job, folder: RunFolder, done: int, trackers: Trackers) -> None:
    if job.config.sample.prompts:
        with job.averaged():
            trackers.pictures(draw(job, folder.samples, done), done)


def _drop_old(folder: RunFolder, config: RunConfig) -> None:
    """Delete the results saved on the way that are too many."""
    keep = config.output.keep_last
    for step in folder.steps_on_the_way(config)[: -keep if keep else 0]:
        old = folder.on_the_way(config, step)
        shutil.rmtree(old) if old.is_dir() else old.unlink()


def _finish(job: Job, folder: RunFolder, started: datetime) -> None:
    """The report and the model card, then the result, which says that all is there."""
    if job.config.output.report:
        write_report(folder.path)
    if job.config.output.model_card:
        write_card(folder.path)
    with job.averaged():
        export(job, folder.result(job.config), job.config.train.steps, started)
