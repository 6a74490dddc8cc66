"""Unweighted losses on a fixed grid of pictures, noise levels and noise: what may be compared across runs.

The error is measured in x0 and shown as epsilon error; perturbation and noise shapes are off.
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

_LEVELS = 3  # noise levels in each band
_BATCH = 64
_AREA = 2**14  # latent elements of a channel that are measured at once: 4 pictures of 512 x 512


def grid(schedule: NoiseSchedule) -> NDArray[np.int64]:
    """Timesteps of the grid: LEVELS in each band that the schedule reaches, evenly over the band's steps."""
    bands = band_of(schedule.snr)
    usable = schedule.snr > 0  # at SNR = 0 an epsilon error says nothing about x0
    chosen = []
    for band in range(len(BANDS)):
        steps = np.flatnonzero((bands == band) & usable)
        if len(steps):
            places = (np.arange(_LEVELS) + 0.5) / _LEVELS
            chosen.append(steps[(places * len(steps)).astype(int)])
    return np.concatenate(chosen)


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
    """Unweighted epsilon error of every picture at every noise level of the grid: [N, levels].

    Args:
        components: the model as it is, adapter included.
        schedule: the schedule it was trained with.
        prediction_type: what it predicts.
        latents: clean latents [N, C, h, w].
        text: embeddings of the captions [N, L, D].
        seed: of the noise, which is the same for every model.
        sizes: what SDXL is told of size and crop [N, 6]; None is of pictures that were neither scaled nor cropped.
        processes: those that measure it together, each at some of the noise levels.
    """
    device = components.unet.device
    most = max(1, min(_BATCH, _AREA // (latents.shape[2] * latents.shape[3])))
    levels = grid(schedule)
    found = np.zeros((len(latents), len(levels)))
    for column in processes.mine(range(len(levels))):
        t = levels[column]
        alpha, sigma = float(schedule.alpha[t]), float(schedule.sigma[t])
        scale = float(gain("epsilon", schedule.log_snr[t]) / gain(prediction_type, schedule.log_snr[t]))
        for start in range(0, len(latents), most):
            rows = slice(start, start + most)
            x0 = latents[rows].to(device)
            noise = [_noise(seed, column, start + i, x0) for i in range(len(x0))]
            eps = torch.stack(noise).to(device)
            steps = torch.full((len(x0),), int(t), device=device)
            told = None if sizes is None else sizes[rows].to(device)
            output = denoise(components, alpha * x0 + sigma * eps, steps, text[rows].to(device), told)
            error = output.float() - target(prediction_type, x0, eps, alpha, sigma)
            found[rows, column] = error.square().flatten(1).mean(1).cpu().numpy() * scale
    together = torch.from_numpy(found)  # zeros where another process has measured
    processes.add_up([together])
    return together.numpy()


def errors_by_band(errors: NDArray[np.float64], schedule: NoiseSchedule) -> dict[str, NDArray[np.float64]]:
    """Each picture's mean error in each band, [N] by band."""
    bands = band_of(schedule.snr[grid(schedule)])
    return {name: errors[:, bands == i].mean(1) for i, name in enumerate(BANDS) if (bands == i).any()}


def validate(job: Job, step: int) -> ValidationLine:
    """The line of validation.jsonl after `step` steps: mean by band with its interval, and every picture's error."""
    held, schedule = job.held_back, job.draws.tables.schedule
    assert held is not None
    found = []
    with job.averaged():
        for group in held.by_size:
            text = group.text
            if text is None:
                with borrowed(job.components, ENCODERS, job.device):
                    text = encode_captions(job.components, group.captions)
            latents, sizes = group.latents, group.sizes
            found.append(
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
    errors = errors_by_band(np.concatenate(found), schedule)
    return {
        "step": step,
        "bands": as_lines({band: mean(values) for band, values in errors.items()}),
        "images": list(held.names),
        "errors": {band: [float(f"{v:.9g}") for v in values] for band, values in errors.items()},
    }


def _noise(seed: int, level: int, picture: int, like: Tensor) -> Tensor:
    rng = stream(seed, "validation", level, picture)
    return torch.from_numpy(rng.standard_normal(like.shape[1:], dtype=np.float32))
