"""Pictures of a run: drawn from the model as it is, written with what made them."""

from __future__ import annotations

from pathlib import Path

from snrlab.train.job import Job
from snrlab.train.sampling import pipeline, sample, save_grid


def draw(job: Job, folder: Path, done: int) -> list[Path]:
    """Draw the run's prompts after `done` steps; the files that were written."""
    config = job.config
    pipe = pipeline(job.components, job.objective.draws.tables.schedule, job.recipe.prediction_type)
    grid = folder / f"step-{done:08d}.png"
    save_grid(sample(pipe, config.sample, config.data.side), config.sample, grid, config.name)
    return [grid]
