"""A run from start to finish: folder, loop, log, checkpoints, samples, result, report."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from snrlab.config import RunConfig
from snrlab.lab.report import write_report
from snrlab.train import checkpoint, run_folder
from snrlab.train.export import export
from snrlab.train.job import Job, prepare
from snrlab.train.loop import steps
from snrlab.train.run_folder import RunFolder
from snrlab.train.sampling import pipeline, sample, save_grid
from snrlab.train.telemetry import Display, record
from snrlab.train.validation import validate

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """How a run ended: where it is, and whether it is finished or was stopped by the user."""

    folder: RunFolder
    config: RunConfig
    finished: bool


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
    job = prepare(config)
    run_folder.start(folder, job.config)
    for finding in job.found:
        say(str(finding))
    done = checkpoint.restore(job, folder.checkpoints)
    if done:
        say(f"resuming {folder.path} at step {done}")
    else:
        _sample(job, folder, 0)  # what the model makes before training
    with (
        run_folder.open_log(folder.steps_file, done) as log,
        run_folder.open_validation(folder.validation_file, done) if job.held_back else nullcontext() as validation,
    ):
        if not done:
            _validate(job, validation, 0)
        finished = _train(job, folder, done, log, validation, say)
    if not finished:
        return Outcome(folder, job.config, finished=False)
    _sample(job, folder, job.config.train.steps)
    result = folder.result(job.config)
    write_report(folder.path)
    with job.averaged():
        export(job, result, job.config.train.steps, started)
    say(f"wrote {result}")
    return Outcome(folder, job.config, finished=True)


def _train(job: Job, folder: RunFolder, done: int, log: IO[str], validation: IO[str] | None, say: Say) -> bool:
    """Take every step that is left; False where the user stopped it, with a checkpoint at that step."""
    train, tables = job.config.train, job.objective.draws.tables
    display = Display(train.steps, done, say)
    before = time.monotonic()
    try:
        with _stop_on_interrupt(say) as stopping:
            for step in steps(job, done):
                now = time.monotonic()
                line = record(step, tables, now - before if job.config.output.dates else None)
                log.write(json.dumps(line) + "\n")
                display.update(step)
                done = step.index + 1
                stop = stopping() and done < train.steps
                _on_the_way(job, folder, done, validation)
                if stop or done == train.steps or done % train.checkpoint_every == 0:
                    log.flush()
                    os.fsync(log.fileno())  # log and samples reach the disk before the checkpoint that counts on them
                    checkpoint.save(job, folder.checkpoints, done)
                if stop:
                    say(f"stopped after step {done}; the same command with --resume goes on.")
                    return False
                before = time.monotonic()  # a step's time is its own, without what is written after it
    finally:
        display.close()
    return True


def _on_the_way(job: Job, folder: RunFolder, done: int, validation: IO[str] | None) -> None:
    """What is measured, drawn and saved after a step where its turn has come."""
    config, last = job.config, done == job.config.train.steps
    if last or (config.validation.every and done % config.validation.every == 0):
        _validate(job, validation, done)
    if not last and config.sample.every and done % config.sample.every == 0:
        _sample(job, folder, done)
    if not last and config.output.every and done % config.output.every == 0:
        with job.averaged():
            export(job, folder.on_the_way(config, done), done)


def _validate(job: Job, validation: IO[str] | None, done: int) -> None:
    if validation is not None:
        validation.write(json.dumps(validate(job, done)) + "\n")
        validation.flush()
        os.fsync(validation.fileno())


def _sample(job: Job, folder: RunFolder, done: int) -> None:
    config = job.config
    if not config.sample.prompts:
        return
    pipe = pipeline(job.components, job.objective.draws.tables.schedule, job.recipe.prediction_type)
    with job.averaged():
        pictures = sample(pipe, config.sample, config.data.resolution)
    save_grid(pictures, config.sample, folder.samples / f"step-{done:08d}.png", config.name)


@contextmanager
def _stop_on_interrupt(say: Say) -> Iterator[Callable[[], bool]]:
    """First Ctrl-C: finish the step, save and stop. Second: stop at once."""
    asked: list[bool] = []

    def handle(signum: int, frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(True)
        say("stopping after this step and saving; press Ctrl-C again to stop at once")

    try:
        previous = signal.signal(signal.SIGINT, handle)
    except ValueError:  # not the main thread: whoever runs us there handles signals
        yield lambda: False
        return
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, previous)
