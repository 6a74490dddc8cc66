"""What a model predicts, by what it does: a look before training, because a wrong belief yields empty pictures.

At high noise x_t = alpha x0 + sigma eps a network tells the noise from the picture, whatever the picture. So how much
of the noise is in its output, how that changes from level to level, and how much of the picture is in it, say what it
was trained on. Fitted at each noise level and over the levels:

    output = n eps + p detail + the rest        detail: x0 without its mean colours, scaled to size 1
    n = a + b alpha

    epsilon       a = 1    b = 0
    v_prediction  a = 0    b = 1    p <= 0
    sample        a = 0    b = 0    p > 0

The error of a reading is the distance from (a, b, p) to what it asks for, over the distance to (0, 0, 0), where a
network that knows nothing is: 1 is chance. The plain |output - target|^2 tells less: a good v network that does not
know pictures like the user's has about the error of chance, because what it makes up is most of its output; and it may
well make up the opposite of the picture's colours, which is why p does not look at them.
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
LEAST = 0.3  # of the picture's detail, below which an output is not said to be a picture
KNOWS = 0.67  # an error below it is of a network that speaks of the noise or the picture ...
MARGIN = 1.5  # ... and for a type if the next best reading errs this many times as much


@dataclass(frozen=True)
class Probe:
    """What was found: the error of each reading of the output, over that of a network that knows nothing."""

    errors: Mapping[str, float]

    @property
    def prediction_type(self) -> str | None:
        """The type that the model predicts, or None where its output does not tell."""
        best, second = sorted(self.errors, key=lambda name: self.errors[name])[:2]
        clear = self.errors[best] < KNOWS and self.errors[second] > MARGIN * self.errors[best]
        return best if clear else None

    def finding(self, components: Components, trained_on: str) -> Finding | None:
        """The remark where the output does not tell; None where it agrees.

        Raises:
            UserError: it clearly predicts another type than it is trained on.
        """
        numbers = {name: float(error) for name, error in self.errors.items()}
        errors = ", ".join(f"{name} {error:.2f}" for name, error in numbers.items())
        found = self.prediction_type
        if found is None:
            return Finding(
                "probe_cannot_tell",
                "info",
                f"what {components.label} predicts cannot be told from its output (error over chance: {errors}), as "
                f"with weights that are new; it is trained on {trained_on}.",
                numbers=numbers,
            )
        if found == trained_on:
            return None
        over = "" if "prediction_type" in components.assumed else " and model.convert = true"
        raise UserError(
            f"recipe.prediction_type: {components.label} would be trained on {trained_on}, but what it does on your "
            f"images at high noise is {found} (error over chance: {errors}). Trained so it would draw empty pictures "
            f'or noise. Set recipe.prediction_type = "{found}"{over}, and '
            "recipe.zero_terminal_snr = true if it was trained to SNR 0; model.probe = false trains it as it is.",
            code="contradicts-model",
        )


@torch.no_grad()
def probe(components: Components, schedule: NoiseSchedule, batches: Sequence[Batch]) -> Probe:
    """Look at the model's output on the user's own pictures at high noise.

    Args:
        components: the model.
        schedule: its noise levels by timestep.
        batches: pictures with their captions; each noise level takes the next of them, around and around.

    Raises:
        UserError: the model gives what is not a finite number.
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
            broken = first_nonfinite_weight(components)
            why = f"its weight {broken} holds what is not a number" if broken else "it is too large for model.precision"
            raise UserError(
                f"what {components.label} computes on your images is not a finite number: {why}.", code="not-finite"
            )
        alphas.append(alpha)
        parts.append(_made_of(output, eps, batch.x0))
    noise, picture = np.array(parts).T
    b, a = np.polyfit(alphas, noise, 1)
    distances = _distances(float(a), float(b), float(picture.mean()))
    chance = max(distances.pop("nothing"), LEAST / 2)
    return Probe({name: distance / chance for name, distance in distances.items()})


def _made_of(output: Tensor, eps: Tensor, x0: Tensor) -> tuple[float, float]:
    """How much of the noise and of the picture's detail is in the output, by least squares: n and p."""
    detail = x0 - x0.mean((2, 3), keepdim=True)
    size = float(detail.square().mean().sqrt())
    parts = torch.stack([eps.flatten(), detail.flatten() / max(size, 1e-6)], dim=1).double().cpu()
    n, p = torch.linalg.lstsq(parts, output.flatten().double().cpu()[:, None]).solution[:, 0].tolist()
    return n, min(p, size)  # more than all of it is chance


def _distances(a: float, b: float, p: float) -> dict[str, float]:
    """How far the output is from nothing and from what each type asks for."""
    return {
        "nothing": math.hypot(a, b, p),
        "epsilon": math.hypot(a - 1, b),
        "v_prediction": math.hypot(a, b - 1, max(p, 0.0)),
        "sample": math.hypot(a, b, max(LEAST - p, 0.0)),
    }


def _timestep(schedule: NoiseSchedule, snr: float) -> int:
    """The step whose SNR is nearest, in its logarithm."""
    usable = np.flatnonzero(schedule.snr > 0)
    return int(usable[np.abs(np.log(schedule.snr[usable] / snr)).argmin()])


def _noise(level: int, like: Tensor) -> Tensor:
    drawn = [
        stream(0, "validation", level, i).standard_normal(like.shape[1:], dtype=np.float32) for i in range(len(like))
    ]
    return torch.from_numpy(np.stack(drawn)).to(like.device)
