"""Pictures of a run: drawn from the model as it is, written with what made them."""

from __future__ import annotations

from pathlib import Path

from snrlab.pictures.grids import request_parameters, save_grid, save_png
from snrlab.pictures.requests import requests
from snrlab.pictures.sampling import draw_pictures, pipeline
from snrlab.train.job import Job


def draw_samples(job: Job, grid: Path) -> list[Path]:
    """Draw the run's prompts: a grid into this file, which is written last, and each picture in a folder beside it.

    Returns:
        The files of the single pictures, in the order of the prompts.
    """
    config, model = job.config, job.components
    wanted = requests(config.sample, config.data.side)
    pipe = pipeline(model, job.draws.tables.schedule, job.recipe.prediction_type)
    scaling = config.sample.epsilon_scaling
    pictures = draw_pictures(pipe, wanted, epsilon_scaling=scaling)
    files = [grid.with_suffix("") / f"{place + 1:02d}.png" for place in range(len(wanted))]
    for request, picture, file in zip(wanted, pictures, files, strict=True):
        save_png(picture, request_parameters(request, config.name, model.encode_rule, epsilon_scaling=scaling), file)
    save_grid(pictures, config.sample, grid, config.name)
    return files
