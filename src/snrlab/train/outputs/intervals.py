"""Intervals of recurring work: every so many steps, or every so many passes over the images."""

from __future__ import annotations

from typing import Protocol

from snrlab.train.job import Job


class Recurring(Protocol):
    """A section of the run file with an interval; 0 is never, and at most one of the two is set."""

    @property
    def every(self) -> int | None:
        """Interval in steps."""

    @property
    def every_epochs(self) -> int:
        """Interval in passes over the images."""


def is_due(section: Recurring, job: Job, done: int) -> bool:
    """Whether a section is due after `done` steps; the end of the run gets no special treatment.

    A pass over the images that ends within a step counts as completed after that step.
    """
    if section.every:
        return done % section.every == 0
    if not section.every_epochs:
        return False
    return passes(job, done) // section.every_epochs > passes(job, done - 1) // section.every_epochs


def passes(job: Job, done: int) -> int:
    """Whole passes over the images after `done` steps."""
    return job.examples.epoch(done)


def times_due(section: Recurring, job: Job) -> int:
    """How often a section is due in the run, not counting its end."""
    return sum(is_due(section, job, done) for done in range(1, job.config.train.steps))
