"""What the reference says of each kind of entry before it lists them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

INTRO = (
    "What a recipe is made of, by name: formula, parameters with their limits, and source. In all formulas $S$ is the "
    "SNR, $t$ the timestep with 0 the cleanest, $T$ how many there are. [SNR from first principles]"
    "(guide/01-what-snr-is.md) explains them, [Words](words.md) has each word in a sentence."
)


@dataclass(frozen=True)
class Kind:
    """A kind of entry.

    Attributes:
        title: the heading.
        about: what its formulas say.
        picture: what its pictures show, where a page has them.
    """

    title: str
    about: str
    picture: str = ""


KINDS: Mapping[str, Kind] = {
    "schedule": Kind(
        "Schedule",
        "How noisy each timestep is. $\\beta$ is how much noise step $t$ adds to the one before. The product of "
        "$1 - \\beta$ over all steps up to $t$ is the picture's part of the power, abar, and $S$ is abar / (1 - abar). "
        "A flow schedule is given by the part of noise $\\sigma$ instead, with $S = (1 - \\sigma)^2 / \\sigma^2$.",
        "The pictures show $S$ beside Stable Diffusion's.",
    ),
    "weighting": Kind(
        "Weighting",
        "How much an error counts, by $S$. $w_{x_0}$ is the weight on the squared error of x0. Divide it by $S$ for "
        "the weight on epsilon, by $S + 1$ for that on v; snrlab does that for what your network predicts, and "
        "multiplies several weightings. Those named after a trainer are what that trainer computes, wrong or right.",
        "The pictures show the weight on the loss of an epsilon network, or of a v network where they say so, beside "
        "plain training.",
    ),
    "density": Kind(
        "Density",
        "How often a timestep is picked: $p$, up to a factor that makes the sum 1. Where a formula has a pick $u$ "
        "instead, it is a place on the schedule from 0, clean, to 1, noise, and $r$ is random, evenly from 0 to 1.",
        "The pictures show $p$ times $T$, so that 1 is as often as by chance.",
    ),
    "sampling": Kind(
        "Sampling",
        "How the timesteps of a batch are taken from the density. It changes how steady training is, not its "
        "goal. $p_s$ is how often a step is picked in the end; its loss is divided by $p_s / p$.",
    ),
    "perturbation": Kind(
        "Perturbation",
        "More noise in what the network is shown, and not in what is asked of it: $x_t = \\alpha x_0 + \\sigma "
        "(\\epsilon + \\gamma_t \\xi)$ with fresh noise $\\xi$.",
        "The pictures show the part of the loss that no training removes.",
    ),
    "noise": Kind(
        "Noise",
        "What is added to the picture, made from normally distributed $\\epsilon$. $\\delta$ is one such number for a "
        "whole channel, coarse(i) noise on a coarser grid.",
        "The pictures show one channel of three examples, from black at -3 to white at 3, stronger than by default "
        "where they say so.",
    ),
    "loss": Kind(
        "Loss",
        "What an error $d$ of one element costs. $c_t$ is where a huber loss goes over from the square to the absolute "
        "value.",
    ),
    "lr_schedule": Kind(
        "Learning-rate schedule",
        "What the learning rate is multiplied by. $u$ is how much of the run after the warm-up is over, from 0 to 1.",
    ),
    "optimizer": Kind("Optimizer", "What makes a step out of gradients: programs, not formulas."),
}
