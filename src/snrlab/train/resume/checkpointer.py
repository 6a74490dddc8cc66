"""Checkpointer: saves a run at the chosen intervals, and once more when something fails."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from snrlab.core.errors import UserError
from snrlab.train.job import Job
from snrlab.train.loop import untouched
from snrlab.train.resume import checkpoint


class Checkpointer:
    """Decides when a run is saved; `saved` is the number of steps after which the last checkpoint was written."""

    def __init__(self, job: Job, folder: Path, log: IO[str], done: int) -> None:
        """Save a job with this step log; `done` is the step of its last checkpoint, or 0."""
        self._job, self._folder, self._log, self.saved = job, folder, log, done

    def is_due(self, done: int) -> bool:
        """Whether a checkpoint is due after `done` steps."""
        train = self._job.config.train
        return done == train.steps or done % train.checkpoint_every == 0

    def save(self, done: int) -> None:
        """Write a checkpoint after `done` steps, unless it exists.

        Raises:
            WriteError: the disk is full, or the folder cannot be written to.
        """
        if done == self.saved or not self._job.processes.main:
            return
        self._log.flush()
        os.fsync(self._log.fileno())  # the log must reach the disk before the checkpoint that relies on it
        checkpoint.save_checkpoint(self._job, self._folder, done)
        self.saved = done

    @contextmanager
    def within_a_step(self, done: int) -> Iterator[None]:
        """Context of a step: if it fails and has changed nothing, the state before it, after `done` steps, is saved."""
        try:
            yield
        except Exception as error:
            if untouched(error):
                self._try_to_save(done)
            raise

    @contextmanager
    def after_a_step(self, done: int) -> Iterator[None]:
        """Context of the work after a step: if it fails, the state after `done` steps is saved where possible."""
        try:
            yield
        except Exception:
            self._try_to_save(done)
            raise

    def _try_to_save(self, done: int) -> None:
        try:
            self.save(done)
        except (OSError, UserError):
            return  # the first error is the one to report; the earlier checkpoint stays
