"""A run from start to finish: folder, pre-flight, loop, log, checkpoints, samples, result, report."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
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
from snrlab.train.processes import ALONE, Processes, here
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
    processes = here()
    say = say if processes.main else _quiet
    folder = RunFolder(processes.first(lambda: run_folder.choose(out, config, resume=resume)[0].path))
    config = config.model_copy(update={"name": folder.path.name})
    if processes.first(lambda: folder.started and folder.finished):
        say(f"{folder.path} is finished already.")
        return Outcome(folder, config, finished=True)
    started = datetime.now(UTC)
    job = _ready(config, folder, say, processes)
    processes.first(lambda: run_folder.start(folder, job.config))
    done = processes.agreed(lambda: checkpoint.restore(job, folder.checkpoints))
    processes.refuse_drift(list(job.parameters.values()))
    if done:
        say(f"resuming {folder.path} at step {done}")
    with _readers(job, folder, done) as readers:
        if not done:
            _before_training(job, folder, readers)
        finished = _train(job, folder, done, readers, say)
        if finished:
            _sample(job, folder, job.config.train.steps, readers.trackers)
    if finished and processes.main:
        _finish(job, folder, started)
    processes.everyones(None)  # wait for the main one
    processes.close()
    if not finished:
        return Outcome(folder, job.config, finished=False)
    say(f"wrote {folder.result(job.config)}")
    return Outcome(folder, job.config, finished=True)


def check(config: RunConfig, out: Path, *, say: Say = print) -> None:
    """Do all that comes before the first step of a run, say what was found, and leave nothing behind.

    Raises:
        UserError: whatever would keep the run from starting or from being saved.
    """
    folder, config = run_folder.choose(out, config, resume=True)
    _ready(config, folder, say, ALONE, thorough=True)


def _quiet(text: str) -> None:
    """Say nothing: the main process does."""


def _ready(config: RunConfig, folder: RunFolder, say: Say, processes: Processes, *, thorough: bool = False) -> Job:
    """The job after its pre-flight, which the main process does for all."""
    processes.first(lambda: refuse_early(config, folder))
    job = prepare(config, say, processes)
    for finding in job.found:
        say(str(finding))
    for line in processes.first(lambda: preflight(job, folder, thorough=thorough)):
        say(line)
    return job


@contextmanager
def _readers(job: Job, folder: RunFolder, done: int) -> Iterator[Readers]:
    """What follows the run; in all but the main process it leads nowhere."""
    if not job.processes.main:
        nowhere = Trackers([], job.objective.draws.tables, 1)
        with open(os.devnull, "w", encoding="utf-8") as log:  # noqa: PTH123
            yield Readers(log, log if job.held_back else None, nowhere)
        return
    with (
        _trackers(job, folder, done) as trackers,
        run_folder.open_log(folder.steps_file, done) as log,
        run_folder.open_validation(folder.validation_file, done) if job.held_back else nullcontext() as validation,
    ):
        yield Readers(log, validation, trackers)


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
                stop = job.processes.any(stopping()) and done < train.steps
                _on_the_way(job, folder, done, readers)
                if stop or done == train.steps or done % train.checkpoint_every == 0:
                    _save(job, folder, done, readers)
                if stop:
                    say(f"stopped after step {done}; the same command with --resume goes on.")
                    return False
                before = time.monotonic()  # a step's time is its own, without what is written after it
    finally:
        display.close()
    return True


def _save(job: Job, folder: RunFolder, done: int, readers: Readers) -> None:
    """The state after `done` steps, of which every process has the same."""
    job.processes.refuse_drift(list(job.parameters.values()))
    if job.processes.main:
        readers.log.flush()
        os.fsync(readers.log.fileno())  # the log reaches the disk before the checkpoint that counts on it
        checkpoint.save(job, folder.checkpoints, done)


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
    if not last and job.processes.main and due(config.output, job, done):
        with job.averaged():
            export(job, folder.on_the_way(config, done), done)
        _drop_old(folder, config)


def _validate(job: Job, readers: Readers, done: int) -> None:
    validation = readers.validation
    if validation is not None:
        found = validate(job, done)
        if not job.processes.main:
            return
        line = compared(found, list(run_folder.read_log(Path(validation.name))))
        validation.write(json.dumps(line) + "\n")
        validation.flush()
        os.fsync(validation.fileno())
        readers.trackers.validation(line)


def _sample(job: Job, folder: RunFolder, done: int, trackers: Trackers) -> None:
    if job.config.sample.prompts and job.processes.main:
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
    write_report(folder.path)
    if job.config.output.model_card:
        write_card(folder.path)
    with job.averaged():
        export(job, folder.result(job.config), job.config.train.steps, started)
