"""What a fixture is made from: one call of a peer's function and what we say about it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from diffusers import DDPMScheduler

STEPS = sorted({0, 1, 2, 5, 10, *range(24, 1000, 25), 146, 147, 353, 354, 900, 998})


def scheduler(**options):
    """The schedule of SD 1.5 and SDXL in float32, as every one of these programs makes it."""
    return DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000,
                         clip_sample=False, **options)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One fixture.

    Attributes:
        kind: what the outputs are: weight, snr, perturbation, noise, density or loss.
        file, function: where the function stands in the peer's repository.
        inputs: what it is given, by the peer's names; run: calls it.
        ours: the recipe of ours that computes the same, None where there is none.
        meant: the recipe that the option's name promises, None where no paper has one.
        note: a sentence on what it computes.
    """

    name: str
    kind: str
    file: str
    function: str
    inputs: dict[str, Any]
    run: Callable[[], dict[str, Any]]
    ours: str | None
    meant: str | None
    note: str
