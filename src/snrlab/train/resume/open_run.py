"""Open the folder of a run: create it, fork it from another run, or resume the run in it."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from snrlab.core.errors import UserError
from snrlab.files.writing import write_atomically
from snrlab.runs import changes
from snrlab.runs import folder as run_folder
from snrlab.runs.folder import RunFolder
from snrlab.runs.lock import RunLock
from snrlab.train.job import Job
from snrlab.train.resume import checkpoint, fingerprints
from snrlab.train.resume import fork as forks
from snrlab.train.resume.fingerprints import InputFingerprints
from snrlab.train.signals import Stop

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunRequest:
    """A request to train besides its config: the run to fork from, whether to stop, and the folder's lock."""

    source: RunFolder | None
    stop: Stop
    lock: RunLock


def open_run(job: Job, inputs: InputFingerprints, folder: RunFolder, request: RunRequest) -> int:
    """Create the run folder, or resume the run in it; the number of steps that are done.

    Raises:
        UserError: another run is in the folder, or the run in it cannot be resumed with this config.
    """
    if request.source is not None:
        forks.make_fork(job, request.source, folder, inputs)
    if not folder.started:
        run_folder.make_folder(folder)
        request.lock.take()
        if folder.started:
            raise UserError(f"another run has just begun in {folder.path}; choose another name.", code="run-in-use")
        write_atomically(folder.sources_file, fingerprints.fingerprints_text(inputs).encode())
        run_folder.write_config(folder, job.config)
        return 0
    request.lock.take()
    run_folder.remove_unfinished(folder)
    before = folder.read_config()
    accepted = changes.refuse(folder, before, job.config, job.processes.count)
    done = checkpoint.restore(job, folder.checkpoints)
    if done > job.config.train.steps:
        raise UserError(
            f"train.steps is {job.config.train.steps}, but {folder.path} has done {done} steps.", code="out-of-range"
        )
    for note in changes.notes(accepted, before, job.config):
        logger.info(note)
    if before.name != job.config.name:
        logger.info(f"{folder.path} is a copy of the run {before.name}; it continues under its own name")
    if accepted or before.name != job.config.name:
        changes.remember(folder.history_file, done, accepted)
        run_folder.write_config(folder, job.config)
    write_atomically(folder.sources_file, fingerprints.fingerprints_text(inputs).encode())
    return done
