"""A run from start to finish: folder, pre-flight, loop, log, checkpoints, samples, result, report."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from snrlab.config import RunConfig
from snrlab.core.errors import UserError
from snrlab.core.findings.finding import Finding
from snrlab.data.dataset import refuse_batch_of_repeats
from snrlab.data.items import Item
from snrlab.distributed import FAILED, SINGLE, Processes, here
from snrlab.lab.card import write_card
from snrlab.lab.report import write_report
from snrlab.runs import changes
from snrlab.runs import folder as run_folder
from snrlab.runs.folder import RunFolder
from snrlab.runs.lock import RunLock
from snrlab.train.checks.preflight import preflight, refuse_early
from snrlab.train.failure.error_messages import as_user_error, resume_hint, translate_errors
from snrlab.train.job import Job, prepare
from snrlab.train.loop import Step, steps
from snrlab.train.outputs.export import export_result
from snrlab.train.outputs.milestones import before_training, catch_up, is_work_due, run_due_work, sample_milestone
from snrlab.train.outputs.readers import Readers, open_readers
from snrlab.train.outputs.telemetry import Display, record
from snrlab.train.resume import checkpoint, fingerprints
from snrlab.train.resume import fork as forks
from snrlab.train.resume.checkpointer import Checkpointer
from snrlab.train.resume.fingerprints import InputFingerprints
from snrlab.train.resume.open_run import RunRequest, open_run
from snrlab.train.signals import Stop, stop_on_signals

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How a run ended: where it is, and whether it is finished or was stopped by the user."""

    folder: RunFolder
    config: RunConfig
    finished: bool


def run(config: RunConfig, out: Path, *, resume: bool = False, fork: str | None = None) -> Outcome:
    """Train as configured into `out/<name>`.

    Args:
        config: the run.
        out: where run folders are.
        resume: go on with the newest run of that name.
        fork: name of a new run that starts from the last checkpoint of that run.

    Raises:
        UserError: anything that is the user's to mend, or the machine's; where it is found before the first step,
            nothing has been written.
        BugError: anything else; what is known of it is in the run's folder.
        KeyboardInterrupt: the run was asked to stop at once.

    What it does is logged to `snrlab`, by the main process alone: progress as info, what may be wrong as warnings.
    """
    processes = here()
    with _main_process_logs(processes):
        source, folder = processes.first(lambda: _choose(out, config, fork, resume=resume))
        if folder.path.name != config.name and not resume and fork is None:
            logger.info(f"{out / config.name} is there already and stays as it is; this run goes into {folder.path}")
        config = config.model_copy(update={"name": folder.path.name})
        try:
            with translate_errors(config, folder), stop_on_signals() as stop, RunLock(folder.path) as lock:
                return _run(config, folder, RunRequest(source, stop, lock), processes)
        except KeyboardInterrupt:
            logger.warning(
                f"stopped. {resume_hint(folder)}" if folder.started else "stopped before anything was written"
            )
            raise
        except UserError as mistake:
            if not processes.main and getattr(mistake, "everywhere", False):
                sys.exit(FAILED)  # the main process says it
            raise


@contextmanager
def _main_process_logs(processes: Processes) -> Iterator[None]:
    """Within it, the others of a run's processes log nothing."""
    package = logging.getLogger("snrlab")
    before = package.level
    if not processes.main:
        package.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        package.setLevel(before)


def _choose(out: Path, config: RunConfig, fork: str | None, *, resume: bool) -> tuple[RunFolder | None, RunFolder]:
    """The folder to fork from, if any, and the folder of the run."""
    if fork is None:
        return None, run_folder.choose_folder(out, config, resume=resume)[0]
    source, folder, _ = forks.choose_fork(out, config, fork)
    return source, folder


def _run(config: RunConfig, folder: RunFolder, wishes: RunRequest, processes: Processes) -> Outcome:
    """The run, with whatever it meets as it comes."""
    if processes.first(lambda: _is_over(config, folder, wishes, processes)):
        return Outcome(folder, config, finished=True)
    started = datetime.now(UTC)
    job, seen = _ready(config, folder, processes)
    done = processes.first(lambda: open_run(job, seen[0], folder, wishes))
    if done:
        processes.agreed(lambda: processes.main or checkpoint.restore(job, folder.checkpoints))
        logger.info(f"resuming {folder.path} at step {done}")
    processes.refuse_drift(list(job.parameters.values()))
    try:
        finished = _steps_and_end(job, folder, done, wishes.stop, started)
    except Exception as reason:
        meant = as_user_error(reason, config, folder)
        if meant is None:
            raise
        raise meant.followed_by(resume_hint(folder)) from None
    return Outcome(folder, job.config, finished)


def _is_over(config: RunConfig, folder: RunFolder, wishes: RunRequest, processes: Processes) -> bool:
    """Whether the run that is there is finished; where it is not, whether it can go on is found out (UserError)."""
    if not folder.started:
        return False
    wishes.lock.take()
    if folder.finished:
        logger.info(f"{folder.path} is finished already. More steps: --fork NAME with a larger train.steps.")
        return True
    changes.refuse(folder, folder.read_config(), config, processes.count, resolved=False)
    fingerprints.refuse_missing_folders(folder, config)
    return False


def _steps_and_end(job: Job, folder: RunFolder, done: int, stop: Stop, started: datetime) -> bool:
    """All steps that are left, and the result; False where the run was asked to stop before."""
    with open_readers(job, folder, done) as readers:
        if done:
            catch_up(job, folder, done, readers)
        else:
            before_training(job, folder, readers)
        if not _train(job, folder, done, readers, stop):
            return False
        sample_milestone(job, folder, job.config.train.steps, readers.trackers, logging.INFO)
    if job.processes.main:
        _finish(job, folder, started)
    job.processes.everyones(None)  # the others wait for it
    logger.info(f"wrote {folder.result(job.config)}")
    return True


def check(config: RunConfig, out: Path) -> None:
    """Do all that comes before the first step of a run, say what was found, and leave nothing behind.

    Raises:
        UserError: whatever would keep the run from starting or from being saved.
        BugError: anything else.
    """
    folder, config = run_folder.choose_folder(out, config, resume=True)
    with translate_errors(config, folder):
        _ready(config, folder, SINGLE, thorough=True)


def _ready(
    config: RunConfig, folder: RunFolder, processes: Processes, *, thorough: bool = False
) -> tuple[Job, list[InputFingerprints]]:
    """The job after its pre-flight, and in the main process what it learns from."""
    processes.first(lambda: refuse_early(config, folder))
    found: list[InputFingerprints] = []

    def look(config: RunConfig, items: tuple[Item, ...], held_back: tuple[Item, ...]) -> None:
        refuse_batch_of_repeats(config.train.batch_size, items)
        known = fingerprints.read_fingerprints(folder) if folder.started else None
        found.append(fingerprints.fingerprint_inputs(config, items, held_back, known))
        if known is not None:
            fingerprints.refuse_changed(folder, known, found[0])

    job = prepare(config, look, processes)
    for finding in job.found:
        logger.log(finding.level, "%s", finding)
    for line in processes.first(lambda: preflight(job, folder, thorough=thorough)):
        logger.log(line.level if isinstance(line, Finding) else logging.INFO, "%s", line)
    return job, found


def _train(job: Job, folder: RunFolder, done: int, readers: Readers, stop: Stop) -> bool:
    """Take every step that is left; False where the run was asked to stop, with a checkpoint at that step."""
    train, tables = job.config.train, job.draws.tables
    display = Display(train.steps, done)
    keeper = Checkpointer(job, folder.checkpoints, readers.log, done)
    parameters = list(job.parameters.values())
    try:
        with stop.after_the_step():
            for step, seconds in _timed(steps(job, done), keeper):
                done = step.index + 1
                with keeper.after_a_step(done):
                    line = record(step, tables, seconds if job.config.output.dates else None)
                    readers.log.write(json.dumps(line) + "\n")
                    readers.trackers.step(line)
                    display.update(step)
                    due = is_work_due(job, folder, done, readers)
                    with display.between_steps() if due or keeper.due(done) else nullcontext():
                        if keeper.due(done):
                            job.processes.refuse_drift(parameters)
                            keeper.save(done)
                        stopping = job.processes.any(stop())
                        if done == train.steps or not stopping:
                            run_due_work(job, folder, done, readers)
                            if due:  # a request may have come meanwhile; asking costs an exchange, so only here
                                stopping = job.processes.any(stop())
                if stopping and done < train.steps:
                    keeper.save(done)
                    logger.warning(f"stopped after step {done}; the same command with --resume goes on.")
                    return False
    finally:
        display.close()
    return True


def _timed(taken: Iterator[Step], keeper: Checkpointer) -> Iterator[tuple[Step, float]]:
    """Each step with its seconds, without what follows it; where one fails, the state before it is kept."""
    done = keeper.saved
    while True:
        before = time.monotonic()
        with keeper.within_a_step(done):
            step = next(taken, None)
        if step is None:
            return
        done = step.index + 1
        yield step, time.monotonic() - before


def _finish(job: Job, folder: RunFolder, started: datetime) -> None:
    """The report and the model card, then the result, which says that all is there."""
    if job.config.output.report:
        write_report(folder.path)
    if job.config.output.model_card:
        write_card(folder.path)
    with job.averaged():
        export_result(job, folder.result(job.config), job.config.train.steps, started)
