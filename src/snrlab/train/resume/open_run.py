"""The first moments of a run in its folder: made anew, forked from another run, or taken up where it stopped."""

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
    """What is asked of a run besides its config: the run it is forked from, when to stop; and its folder's lock."""

    source: RunFolder | None
    stop: Stop
    lock: RunLock


def open_run(job: Job, seen: InputFingerprints, folder: RunFolder, wishes: RunRequest) -> int:
    """Make the folder, or take up what is in it; the number of steps that are done."""
    if wishes.source is not None:
        forks.make_fork(job, wishes.source, folder, seen)
    if not folder.started:
        run_folder.make_folder(folder)
        wishes.lock.take()
        if folder.started:
            raise UserError(f"another run has just begun in {folder.path}; choose another name.", code="run-in-use")
        write_atomically(folder.sources_file, fingerprints.fingerprints_text(seen).encode())
        run_folder.write_config(folder, job.config)
        return 0
    wishes.lock.take()
    run_folder.remove_unfinished(folder)
    before = folder.read_config()
    taken = changes.refuse(folder, before, job.config, job.processes.count)
    done = checkpoint.restore(job, folder.checkpoints)
    if done > job.config.train.steps:
        raise UserError(
            f"train.steps is {job.config.train.steps}, but {folder.path} has done {done} steps.", code="out-of-range"
        )
    for note in changes.notes(taken, before, job.config):
        logger.info(note)
    if before.name != job.config.name:
        logger.info(f"{folder.path} is a copy of the run {before.name}; it goes on under its own name")
    if taken or before.name != job.config.name:
        changes.remember(folder.history_file, done, taken)
        run_folder.write_config(folder, job.config)
    write_atomically(folder.sources_file, fingerprints.fingerprints_text(seen).encode())
    return done
