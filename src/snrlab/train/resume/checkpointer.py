"""What keeps a run's progress: a checkpoint when its turn has come, and one more where something goes wrong."""

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
    """The checkpoints of a run; `saved` is the number of steps after which the last one was taken."""

    def __init__(self, job: Job, folder: Path, log: IO[str], done: int) -> None:
        """Of a job with this step log, whose checkpoint after `done` steps is there, or 0."""
        self._job, self._folder, self._log, self.saved = job, folder, log, done

    def due(self, done: int) -> bool:
        """Whether a checkpoint's turn has come after `done` steps."""
        train = self._job.config.train
        return done == train.steps or done % train.checkpoint_every == 0

    def save(self, done: int) -> None:
        """Take a checkpoint after `done` steps, unless it is there.

        Raises:
            WriteError: the disk is full, or the folder cannot be written to.
        """
        if done == self.saved or not self._job.processes.main:
            return
        self._log.flush()
        os.fsync(self._log.fileno())  # the log reaches the disk before the checkpoint that counts on it
        checkpoint.save_checkpoint(self._job, self._folder, done)
        self.saved = done

    @contextmanager
    def within_a_step(self, done: int) -> Iterator[None]:
        """Where a step fails and has changed nothing, the state after the `done` steps before it is saved."""
        try:
            yield
        except Exception as reason:
            if untouched(reason):
                self._try(done)
            raise

    @contextmanager
    def after_a_step(self, done: int) -> Iterator[None]:
        """Where what follows a step fails, the state after it is saved, if the disk lets it."""
        try:
            yield
        except Exception:
            self._try(done)
            raise

    def _try(self, done: int) -> None:
        try:
            self.save(done)
        except (OSError, UserError):
            return  # what went wrong before is what is said; the checkpoint before stays
