"""Probe of a model's prediction type from its output, before training: a wrong type would train empty pictures.

At high noise, x_t = alpha x0 + sigma eps, a network tells the noise from the image, whatever the image shows. So the
share of the noise in its output, how that changes from level to level, and the share of the image show what it was
trained to predict. Fitted at each noise level and over the levels:

    output = n eps + p detail + the rest        detail: x0 without its mean colours, scaled to size 1
    n = a + b alpha

    epsilon       a = 1    b = 0
    v_prediction  a = 0    b = 1    p <= 0
    sample        a = 0    b = 0    p > 0

The error of a prediction type is the distance from (a, b, p) to the values in the table, over the distance to
(0, 0, 0), where an untrained network is: 1 is chance. The plain |output - target|^2 is less clear: a good v network
that has never seen images like the user's has about the error of chance, because most of its output is invented; and it
may invent the opposite of the image's colours, which is why p leaves them out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from snrlab.core.errors import UserError
from snrlab.core.findings.finding import Finding
from snrlab.core.random_streams import stream
from snrlab.core.schedule import NoiseSchedule
from snrlab.models.components import Components
from snrlab.models.denoise import denoise
from snrlab.models.nonfinite import first_nonfinite_weight
from snrlab.train.step.batch import Batch

LEVELS = (0.5, 0.2, 0.1, 0.05)  # SNR; one forward pass each
MIN_DETAIL = 0.3  # share of the image's detail that an output must contain to count as a prediction of x0
CLEAR_ERROR = 0.67  # the best type is clear if its error is below this ...
CLEAR_RATIO = 1.5  # ... and the error of the next best type is more than this many times as large


@dataclass(frozen=True)
class Probe:
    """Result of the probe: the error of each prediction type, over that of an untrained network."""

    errors: Mapping[str, float]

    @property
    def prediction_type(self) -> str | None:
        """The type that the model predicts, or None where its output is not clear."""
        best, second = sorted(self.errors, key=lambda name: self.errors[name])[:2]
        clear = self.errors[best] < CLEAR_ERROR and self.errors[second] > CLEAR_RATIO * self.errors[best]
        return best if clear else None

    def finding(self, components: Components, trained_on: str) -> Finding | None:
        """The finding of a model whose output is not clear; None where it agrees with `trained_on`.

        Raises:
            UserError: the model clearly predicts another type than `trained_on`.
        """
        numbers = {name: float(error) for name, error in self.errors.items()}
        errors = ", ".join(f"{name} {error:.2f}" for name, error in numbers.items())
        predicted = self.prediction_type
        if predicted is None:
            return Finding(
                "probe_cannot_tell",
                "info",
                f"what {components.label} predicts cannot be told from its output (error over chance: {errors}), as "
                f"with untrained weights; it will be trained on {trained_on}.",
                numbers=numbers,
            )
        if predicted == trained_on:
            return None
        convert = "" if "prediction_type" in components.assumed else " and model.convert = true"
        raise UserError(
            f"recipe.prediction_type: {components.label} would be trained on {trained_on}, but what it does on your "
            f"images at high noise is {predicted} (error over chance: {errors}). Training it like that "
            f'would give empty pictures or noise. Set recipe.prediction_type = "{predicted}"{convert}, and '
            "recipe.zero_terminal_snr = true if it was trained to SNR 0; model.probe = false trains it as it is.",
            code="contradicts-model",
        )


@torch.no_grad()
def probe(components: Components, schedule: NoiseSchedule, batches: Sequence[Batch]) -> Probe:
    """Measure the model's output on the user's own images at high noise.

    Args:
        components: the model.
        schedule: its noise levels by timestep.
        batches: images with their captions; each noise level takes the next batch, in turn.

    Raises:
        UserError: the output of the model is not finite.
    """
    alphas, parts = [], []
    for level, snr in enumerate(LEVELS):
        batch = batches[level % len(batches)]
        t = _timestep(schedule, snr)
        alpha, sigma = float(schedule.alpha[t]), float(schedule.sigma[t])
        eps = _noise(level, batch.x0)
        timesteps = torch.full((len(batch.x0),), t, device=batch.x0.device)
        output = denoise(components, alpha * batch.x0 + sigma * eps, timesteps, batch.text, batch.sizes).float()
        if not torch.isfinite(output).all():
            bad_weight = first_nonfinite_weight(components)
            reason = f"its weight {bad_weight} is not finite" if bad_weight else "it is too large for model.precision"
            raise UserError(
                f"what {components.label} computes on your images is not a finite number: {reason}.", code="not-finite"
            )
        alphas.append(alpha)
        parts.append(_fit_parts(output, eps, batch.x0))
    noise, detail = np.array(parts).T
    b, a = np.polyfit(alphas, noise, 1)
    distances = _distances(float(a), float(b), float(detail.mean()))
    chance = max(distances.pop("nothing"), MIN_DETAIL / 2)
    return Probe({name: distance / chance for name, distance in distances.items()})


def _fit_parts(output: Tensor, eps: Tensor, x0: Tensor) -> tuple[float, float]:
    """Shares of the noise and of the image's detail in the output, by least squares: n and p."""
    detail = x0 - x0.mean((2, 3), keepdim=True)
    size = float(detail.square().mean().sqrt())
    parts = torch.stack([eps.flatten(), detail.flatten() / max(size, 1e-6)], dim=1).double().cpu()
    n, p = torch.linalg.lstsq(parts, output.flatten().double().cpu()[:, None]).solution[:, 0].tolist()
    return n, min(p, size)  # more than all of it is chance


def _distances(a: float, b: float, p: float) -> dict[str, float]:
    """Distances of the output from 0 ("nothing") and from the values of each prediction type."""
    return {
        "nothing": math.hypot(a, b, p),
        "epsilon": math.hypot(a - 1, b),
        "v_prediction": math.hypot(a, b - 1, max(p, 0.0)),
        "sample": math.hypot(a, b, max(MIN_DETAIL - p, 0.0)),
    }


def _timestep(schedule: NoiseSchedule, snr: float) -> int:
    """The timestep whose log SNR is nearest."""
    usable = np.flatnonzero(schedule.snr > 0)
    return int(usable[np.abs(np.log(schedule.snr[usable] / snr)).argmin()])


def _noise(level: int, like: Tensor) -> Tensor:
    noise = [
        stream(0, "validation", level, i).standard_normal(like.shape[1:], dtype=np.float32) for i in range(len(like))
    ]
    return torch.from_numpy(np.stack(noise)).to(like.device)
