"""Validation: unweighted losses on a fixed grid of images, noise levels and noise, comparable across runs.

The error is measured in x0 and given as epsilon error; perturbation and noise shapes are off.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snrlab.core.bands import BANDS, band_of
from snrlab.core.prediction import gain, target
from snrlab.core.random_streams import stream
from snrlab.core.schedule import NoiseSchedule
from snrlab.distributed import SINGLE, Processes
from snrlab.lab.statistics import as_lines, mean
from snrlab.models.arithmetic import borrowed
from snrlab.models.components import ENCODERS, Components
from snrlab.models.denoise import denoise
from snrlab.models.encoding.encode import TextEmbeddings, encode_captions
from snrlab.runs.logs import ValidationLine
from snrlab.train.job import Job

_LEVELS_PER_BAND = 3  # noise levels in each band
_MAX_BATCH = 64
_AREA = 2**14  # latent elements of a channel that are measured at once: 4 images of 512 x 512


def grid(schedule: NoiseSchedule) -> NDArray[np.int64]:
    """Timesteps of the grid: three in each SNR band that the schedule reaches, evenly over the band's timesteps."""
    bands = band_of(schedule.snr)
    usable = schedule.snr > 0  # at SNR = 0 an epsilon error says nothing about x0
    timesteps = []
    for band in range(len(BANDS)):
        in_band = np.flatnonzero((bands == band) & usable)
        if len(in_band):
            positions = (np.arange(_LEVELS_PER_BAND) + 0.5) / _LEVELS_PER_BAND
            timesteps.append(in_band[(positions * len(in_band)).astype(int)])
    return np.concatenate(timesteps)


@torch.no_grad()
def epsilon_errors(
    components: Components,
    schedule: NoiseSchedule,
    prediction_type: str,
    latents: Tensor,
    text: TextEmbeddings,
    seed: int = 0,
    sizes: Tensor | None = None,
    processes: Processes = SINGLE,
) -> NDArray[np.float64]:
    """Unweighted epsilon error of every image at every noise level of the grid: [N, levels].

    Args:
        components: the model, with its adapter if it has one.
        schedule: the noise schedule that it was trained with.
        prediction_type: what it predicts.
        latents: clean latents [N, C, h, w].
        text: embeddings of the captions [N, L, D].
        seed: seed of the noise; with the same seed the noise is the same for every model.
        sizes: SDXL's size and crop conditions [N, 6]; None is for images that were neither scaled nor cropped.
        processes: the processes that measure together, each at some of the noise levels.
    """
    device = components.unet.device
    at_once = max(1, min(_MAX_BATCH, _AREA // (latents.shape[2] * latents.shape[3])))
    levels = grid(schedule)
    errors = np.zeros((len(latents), len(levels)))
    for column in processes.mine(range(len(levels))):
        t = levels[column]
        alpha, sigma = float(schedule.alpha[t]), float(schedule.sigma[t])
        scale = float(gain("epsilon", schedule.log_snr[t]) / gain(prediction_type, schedule.log_snr[t]))
        for start in range(0, len(latents), at_once):
            rows = slice(start, start + at_once)
            x0 = latents[rows].to(device)
            noise = [_noise(seed, column, start + i, x0) for i in range(len(x0))]
            eps = torch.stack(noise).to(device)
            timesteps = torch.full((len(x0),), int(t), device=device)
            size_conditions = None if sizes is None else sizes[rows].to(device)
            output = denoise(components, alpha * x0 + sigma * eps, timesteps, text[rows].to(device), size_conditions)
            error = output.float() - target(prediction_type, x0, eps, alpha, sigma)
            errors[rows, column] = error.square().flatten(1).mean(1).cpu().numpy() * scale
    summed = torch.from_numpy(errors)  # zeros where another process has measured
    processes.sum_([summed])
    return summed.numpy()


def errors_by_band(errors: NDArray[np.float64], schedule: NoiseSchedule) -> dict[str, NDArray[np.float64]]:
    """Mean error of each image in each SNR band, [N] by band."""
    bands = band_of(schedule.snr[grid(schedule)])
    return {name: errors[:, bands == i].mean(1) for i, name in enumerate(BANDS) if (bands == i).any()}


def validate(job: Job, step: int) -> ValidationLine:
    """The line of validation.jsonl after `step` steps: mean by band with its interval, and the errors of each image."""
    validation_set, schedule = job.validation_set, job.draws.tables.schedule
    assert validation_set is not None
    per_size = []
    with job.averaged():
        for group in validation_set.by_size:
            text = group.text
            if text is None:
                with borrowed(job.components, ENCODERS, job.device):
                    text = encode_captions(job.components, group.captions)
            latents, sizes = group.latents, group.sizes
            per_size.append(
                epsilon_errors(
                    job.components,
                    schedule,
                    job.recipe.prediction_type,
                    latents,
                    text,
                    sizes=sizes,
                    processes=job.processes,
                )
            )
    errors = errors_by_band(np.concatenate(per_size), schedule)
    return {
        "step": step,
        "bands": as_lines({band: mean(values) for band, values in errors.items()}),
        "images": list(validation_set.names),
        "errors": {band: [float(f"{v:.9g}") for v in values] for band, values in errors.items()},
    }


def _noise(seed: int, level: int, image: int, like: Tensor) -> Tensor:
    rng = stream(seed, "validation", level, image)
    return torch.from_numpy(rng.standard_normal(like.shape[1:], dtype=np.float32))
