"""Sample pictures of a run, written with the parameters that made them."""

from __future__ import annotations

from pathlib import Path

from snrlab.pictures.grids import save_grid
from snrlab.pictures.png_metadata import request_parameters, save_png
from snrlab.pictures.requests import requests
from snrlab.pictures.sampling import draw_pictures, pipeline
from snrlab.train.job import Job


def draw_samples(job: Job, grid: Path) -> list[Path]:
    """Sample the run's prompts: a grid in this file, which is written last, and each picture in a folder next to it.

    Returns:
        The files of the single pictures, in the order of the prompts.
    """
    config, model = job.config, job.components
    sample_requests = requests(config.sample, config.data.side)
    pipe = pipeline(model, job.draws.tables.schedule, job.recipe.prediction_type)
    scaling = config.sample.epsilon_scaling
    pictures = draw_pictures(pipe, sample_requests, epsilon_scaling=scaling)
    files = [grid.with_suffix("") / f"{index + 1:02d}.png" for index in range(len(sample_requests))]
    for request, picture, file in zip(sample_requests, pictures, files, strict=True):
        save_png(picture, request_parameters(request, config.name, model.encode_rule, epsilon_scaling=scaling), file)
    save_grid(pictures, config.sample, grid, config.name)
    return files
