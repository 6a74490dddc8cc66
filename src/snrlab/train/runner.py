"""A run from start to finish: run folder, pre-flight, training loop, log, checkpoints, samples, result, report."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from snrlab.config import RunConfig
from snrlab.config.wrong_file import shell_quoted
from snrlab.core.errors import UserError
from snrlab.core.findings.finding import Finding
from snrlab.data.dataset import refuse_batch_of_repeats
from snrlab.distributed import FAILURE_EXIT_CODE, SINGLE, Processes, current_processes
from snrlab.lab.card import write_card
from snrlab.lab.report import write_report
from snrlab.progress import doing
from snrlab.runs import changes
from snrlab.runs import folder as run_folder
from snrlab.runs.folder import RunFolder
from snrlab.runs.lock import RunLock
from snrlab.train.checks.preflight import preflight, refuse_early
from snrlab.train.failure.error_messages import as_user_error, how_to_resume, resume_hint, translate_errors
from snrlab.train.job import Job, RunImages, find_images, prepare
from snrlab.train.loop import Step, steps
from snrlab.train.outputs.export import export_result
from snrlab.train.outputs.milestones import before_training, catch_up, is_work_due, run_due_work, sample_milestone
from snrlab.train.outputs.observers import Readers, open_readers
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
    """How a run ended: its folder and configuration, and whether it finished or was stopped by the user."""

    folder: RunFolder
    config: RunConfig
    finished: bool


@dataclass(frozen=True)
class RunContext:
    """A run before it is in memory: its configuration, its folder and the processes that train it."""

    config: RunConfig
    folder: RunFolder
    processes: Processes


def run(
    config: RunConfig,
    out: Path,
    *,
    resume: bool = False,
    fork: str | None = None,
    earlier: RunFolder | None = None,
    opened: Callable[[RunFolder], object] | None = None,
) -> Outcome:
    """Train as configured into `out/<name>`.

    Progress is logged to `snrlab` as info and what may be wrong as warnings, by the main process alone.

    Args:
        config: the run.
        out: the folder of the run folders.
        resume: go on with the newest run of that name.
        fork: name of a new run that starts from the last checkpoint of that run.
        earlier: the run to resume, or to fork, where it is not the newest of that name.
        opened: called with the run folder before anything is loaded; by the main process alone.

    Raises:
        UserError: anything that the user or the machine's owner can put right; where it comes up before the first
            step, nothing has been written.
        BugError: anything else; a bug report is in the run folder.
        KeyboardInterrupt: the run was asked to stop at once.
    """
    processes = current_processes()
    with _main_process_logs(processes):
        source, folder = processes.on_main(lambda: _choose_folders(config, out, fork, earlier, resume=resume))
        if folder.path.name != config.name and not resume and fork is None:
            logger.info(f"{out / config.name} already exists and stays as it is; this run goes into {folder.path}")
        if opened is not None and processes.main:
            opened(folder)
        context = RunContext(config.model_copy(update={"name": folder.path.name}), folder, processes)
        try:
            with (
                translate_errors(context.config, folder),
                stop_on_signals() as stop,
                RunLock(folder.path) as lock,
            ):
                return _run(context, RunRequest(source, stop, lock))
        except KeyboardInterrupt:
            logger.warning(
                f"Stopped. {resume_hint(folder)}" if folder.started else "Stopped before anything was written."
            )
            raise
        except UserError as error:
            if not processes.main and getattr(error, "everywhere", False):
                sys.exit(FAILURE_EXIT_CODE)  # the main process reports it
            raise


@contextmanager
def _main_process_logs(processes: Processes) -> Iterator[None]:
    """Context in which only the main process of a run logs."""
    package = logging.getLogger("snrlab")
    level_before = package.level
    if not processes.main:
        package.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        package.setLevel(level_before)


def _choose_folders(
    config: RunConfig, out: Path, fork: str | None, earlier: RunFolder | None, *, resume: bool
) -> tuple[RunFolder | None, RunFolder]:
    """The run folder to fork from, if any, and the run folder to train into."""
    if resume and earlier is not None:
        return None, earlier
    if fork is None:
        return None, run_folder.choose_folder(out, config, resume=resume)[0]
    source, folder, _ = forks.choose_fork(out, config, fork, earlier)
    return source, folder


def _run(context: RunContext, request: RunRequest) -> Outcome:
    """Prepare the run, open its folder and train it; errors that a checkpoint survives say how to resume."""
    folder, processes = context.folder, context.processes
    if processes.on_main(lambda: _is_finished(context, request)):
        return Outcome(folder, context.config, finished=True)
    started = datetime.now(UTC)
    job, inputs = _prepare_and_check(context)
    done = processes.on_main(lambda: open_run(job, inputs, folder, request))
    if done:
        processes.all_or_none(lambda: processes.main or checkpoint.restore(job, folder.checkpoints))
        logger.info(f"resuming {folder.path} at step {done}")
    processes.refuse_drift(list(job.parameters.values()))
    try:
        finished = _train_and_finish(job, folder, done, request.stop, started)
    except Exception as error:
        translated = as_user_error(error, context.config, folder)
        if translated is None:
            raise
        raise translated.followed_by(resume_hint(folder)) from None
    return Outcome(folder, job.config, finished)


def _is_finished(context: RunContext, request: RunRequest) -> bool:
    """Whether the run in the folder is finished; if it is not, refuse what cannot be resumed (UserError)."""
    folder, config = context.folder, context.config
    if not folder.started:
        return False
    request.lock.take()
    if folder.finished:
        _finish_report(folder)
        path = shell_quoted(folder.path)
        logger.info(
            f"{folder.path} is finished. To train it longer, as a new run that starts from its last checkpoint:\n"
            f"  snrlab train {path} --fork NAME --set train.steps={2 * folder.read_config().train.steps}"
        )
        return True
    changes.refuse(folder, folder.read_config(), config, context.processes.count, resolved=False)
    fingerprints.refuse_missing_folders(folder, config)
    return False


def _finish_report(folder: RunFolder) -> None:
    """Write the report of a finished run whose process was killed between its result and its last report."""
    finished = folder.read_config()
    is_last = folder.report.exists() and folder.report.stat().st_mtime_ns >= _newest_mtime(folder.result(finished))
    if finished.output.report and not is_last:
        write_report(folder.path)


def _newest_mtime(result: Path) -> int:
    """When a result was last written, in nanoseconds; of a folder, its newest file."""
    return max(file.stat().st_mtime_ns for file in (result, *result.rglob("*")))


def _train_and_finish(job: Job, folder: RunFolder, done: int, stop: Stop, started: datetime) -> bool:
    """Take the remaining steps and write the result; False if the run was asked to stop before the end."""
    with open_readers(job, folder, done, started) as readers:
        if done:
            catch_up(job, folder, done, readers)
        else:
            before_training(job, folder, readers)
        if not _train(job, folder, done, readers, stop):
            readers.report.end_session()
            readers.report.write("stopped")
            return False
        sample_milestone(job, folder, job.config.train.steps, readers.trackers, logging.INFO)
        if job.processes.main:
            _finish(job, folder, started)
        readers.report.end_session()
        readers.report.write("finished")
    job.processes.gather_objects(None)  # the others wait for the main process
    logger.info(f"wrote {folder.result(job.config)}")
    return True


def check(config: RunConfig, out: Path) -> None:
    """Do all that comes before the first step of a run, log the findings, and leave nothing behind.

    Raises:
        UserError: whatever would keep the run from starting or from being saved.
        BugError: anything else.
    """
    folder, config = run_folder.choose_folder(out, config, resume=True)
    with translate_errors(config, folder):
        _prepare_and_check(RunContext(config, folder, SINGLE), thorough=True)


def _prepare_and_check(context: RunContext, *, thorough: bool = False) -> tuple[Job, InputFingerprints]:
    """Prepare the job and log the findings of its pre-flight; also the fingerprints of its inputs."""
    config, folder, processes = context.config, context.folder, context.processes
    processes.on_main(lambda: refuse_early(config, folder))
    images = processes.all_or_none(lambda: find_images(config, processes))
    inputs = processes.on_main(lambda: _check_images(images, folder))
    job = prepare(config, processes, images)
    for finding in job.findings:
        logger.log(finding.level, "%s", finding)
    for line in processes.on_main(lambda: preflight(job, folder, thorough=thorough)):
        logger.log(line.level if isinstance(line, Finding) else logging.INFO, "%s", line)
    return job, inputs


def _check_images(images: RunImages, folder: RunFolder) -> InputFingerprints:
    """The fingerprints of a run's inputs, compared with those that a started run has recorded (UserError)."""
    refuse_batch_of_repeats(images.config.train.batch_size, images.training)
    recorded = fingerprints.read_fingerprints(folder) if folder.started else None
    inputs = fingerprints.fingerprint_inputs(images.config, images.training, images.validation, recorded)
    if recorded is not None:
        fingerprints.refuse_changed(folder, recorded, inputs)
    return inputs


def _train(job: Job, folder: RunFolder, done: int, readers: Readers, stop: Stop) -> bool:
    """Take the remaining steps; False if the run was asked to stop, with a checkpoint at that step."""
    loop = _StepEnd(job, folder, readers, stop, Checkpointer(job, folder.checkpoints, readers.log, done))
    display = Display(job.config.train.steps, done)
    try:
        with stop.after_the_step():
            for step, seconds in _timed(steps(job, done), loop.checkpointer):
                if loop.asks_to_stop(step, seconds, display):
                    break
            else:
                return True
    finally:
        display.close()
    logger.warning(f"Stopped after step {step.index + 1}. {how_to_resume(folder)}")
    return False


@dataclass(frozen=True)
class _StepEnd:
    """What is done after each step: the log, the display, the checkpoint, and work that is due."""

    job: Job
    folder: RunFolder
    readers: Readers
    stop: Stop
    checkpointer: Checkpointer

    def asks_to_stop(self, step: Step, seconds: float, display: Display) -> bool:
        """Do all that follows a step; whether the run stops here, saved, before its end."""
        job, done, is_last = self.job, step.index + 1, step.index + 1 == self.job.config.train.steps
        with self.checkpointer.after_a_step(done):
            line = record(step, job.draws.tables, seconds if job.config.output.dates else None)
            self.readers.log.write(json.dumps(line) + "\n")
            self.readers.trackers.step(line)
            display.update(step)
            self.readers.report.after_a_step()
            due, save = is_work_due(job, self.folder, done, self.readers), self.checkpointer.is_due(done)
            with display.between_steps() if due or save else nullcontext():
                if save:
                    job.processes.refuse_drift(list(job.parameters.values()))
                    self._save(done)
                stopping = job.processes.any(self.stop())
                if due and (is_last or not stopping):
                    self._do_due_work(done)
                    stopping = job.processes.any(self.stop())  # the work may have taken minutes
        if not stopping or is_last:
            return False
        self._save(done)
        return True

    def _do_due_work(self, done: int) -> None:
        """Validate, sample and save results; where that is broken off, the step is kept."""
        try:
            with self.stop.breakable():
                run_due_work(self.job, self.folder, done, self.readers)
        except KeyboardInterrupt:
            self._save(done)
            raise

    def _save(self, done: int) -> None:
        with doing("saving a checkpoint"):
            self.checkpointer.save(done)


def _timed(steps_to_take: Iterator[Step], checkpointer: Checkpointer) -> Iterator[tuple[Step, float]]:
    """Each step with the seconds it took; if one fails, the state before it is saved where that is intact."""
    done = checkpointer.saved
    while True:
        start = time.monotonic()
        with checkpointer.within_a_step(done):
            step = next(steps_to_take, None)
        if step is None:
            return
        done = step.index + 1
        yield step, time.monotonic() - start


def _finish(job: Job, folder: RunFolder, started: datetime) -> None:
    """Write the model card, then the result, whose presence marks the run as finished."""
    if job.config.output.model_card:
        write_card(folder.path)
    with job.averaged():
        export_result(job, folder.result(job.config), job.config.train.steps, started)
