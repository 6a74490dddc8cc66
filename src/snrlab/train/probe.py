"""What a model predicts, by what it does: a look before training, because a wrong belief yields empty pictures.

At high noise x_t = alpha x0 + sigma eps the three prediction types ask for three different things, nearly at right
angles: the noise, the picture, or one turned against the other. So the output of a trained network, read as the type
that it was trained on, errs far less than one that knows nothing, and read as another it errs more:

    error(type) = |output - target(type)|^2 / |target(type)|^2       1 is what an output of zeros gets

A network with random weights has an error of about 1 or more under every reading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from snrlab.core.draws import stream
from snrlab.core.errors import UserError
from snrlab.core.finding import Finding
from snrlab.core.prediction import target
from snrlab.core.schedule import NoiseSchedule
from snrlab.models.components import Components
from snrlab.models.denoise import denoise
from snrlab.train.batch import Batch
from snrlab.train.resolve import TRAINABLE

LEVELS = (0.5, 0.2, 0.08, 0.03)  # SNR; one forward pass each
KNOWS = 0.75  # an error below it is of a network that knows the picture from the noise ...
MARGIN = 1.5  # ... and speaks for a type if the next best reading errs this many times as much


@dataclass(frozen=True)
class Probe:
    """What was found: the error of the output read as each prediction type, over that of an output of zeros."""

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
            "recipe.zero_terminal_snr = true if it was trained to SNR 0; model.probe = false trains it as it is."
        )


@torch.no_grad()
def probe(components: Components, schedule: NoiseSchedule, batches: Sequence[Batch]) -> Probe:
    """Look at the model's output on the user's own pictures at high noise.

    Args:
        components: the model.
        schedule: its noise levels by timestep.
        batches: pictures with their captions; each noise level takes the next of them, around and around.
    """
    found: dict[str, list[float]] = {name: [] for name in TRAINABLE}
    for level, snr in enumerate(LEVELS):
        batch = batches[level % len(batches)]
        t = _timestep(schedule, snr)
        alpha, sigma = float(schedule.alpha[t]), float(schedule.sigma[t])
        eps = _noise(level, batch.x0)
        timesteps = torch.full((len(batch.x0),), t, device=batch.x0.device)
        output = denoise(components, alpha * batch.x0 + sigma * eps, timesteps, batch.text, batch.sizes).float()
        for name in TRAINABLE:
            y = target(name, batch.x0, eps, alpha, sigma)
            found[name].append(float((output - y).square().sum() / y.square().sum()))
    return Probe({name: float(np.mean(errors)) for name, errors in found.items()})


def _timestep(schedule: NoiseSchedule, snr: float) -> int:
    """The step whose SNR is nearest, in its logarithm."""
    usable = np.flatnonzero(schedule.snr > 0)
    return int(usable[np.abs(np.log(schedule.snr[usable] / snr)).argmin()])


def _noise(level: int, like: Tensor) -> Tensor:
    drawn = [
        stream(0, "validation", level, i).standard_normal(like.shape[1:], dtype=np.float32) for i in range(len(like))
    ]
    return torch.from_numpy(np.stack(drawn)).to(like.device)
