"""Pictures that no recipe's graph shows: what a noise level looks like, shares, sampling in the solvable world."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from documentation.gaussian_world import sampled_variance
from snrlab import SCHEDULES
from snrlab.data import emoji
from snrlab.lab.figures.plots import draw_figure
from snrlab.lab.figures.theme import THEMES, Mode
from snrlab.lab.profile import FIFTHS, SHARES, ideal_profile, shares, shares_by_fifth, shipped_profile
from snrlab.lab.recipe_text import parse_recipe

WIDTH = 6.2  # inches of every picture: on a telephone, 370 pixels wide, its words can still be read
STEPS = (0, 146, 353, 500, 686, 999)
SHOWN = "red apple"


def noise_levels(*, mode: Mode = "light") -> Figure:
    """One picture at six timesteps of Stable Diffusion's schedule, from hardly noisy to hardly visible."""
    schedule = SCHEDULES.bind("sd")()
    figure, axes = _figure(1, len(STEPS), (WIDTH, 1.6), mode)
    for place, t in zip(axes, STEPS, strict=True):
        place.imshow(_noisy(_picture(), schedule, t, 0), interpolation="none")
        place.set_title(f"t = {t}", fontsize=10, loc="center")
        place.set_xlabel(
            f"SNR {schedule.snr[t]:.0f}" if schedule.snr[t] >= 100 else f"SNR {schedule.snr[t]:.2g}", fontsize=10
        )
    return figure


def front(*texts: str, mode: Mode = "light") -> Figure:
    """A picture at five noise levels, and below them how much effort three recipes spend on each level."""
    recipes = {label: recipe.tables() for label, recipe in map(parse_recipe, texts)}
    figure = draw_figure(recipes, ["emphasis"], mode=mode, width=WIDTH)
    with mpl.rc_context(THEMES[mode].rc()):
        figure.axes[0].set_title("")
        return figure


def two_sizes(*, mode: Mode = "light") -> Figure:
    """The same SNR at two sizes: seen from afar, the larger picture is the less noisy one."""
    schedule, t = SCHEDULES.bind("sd")(), 686
    small = _picture()
    large = np.kron(small, np.ones((4, 4, 1)))
    figure, axes = _figure(1, 3, (WIDTH, 2.4), mode)
    seen = _noisy(large, schedule, t, 1)
    size = len(small)
    averaged = seen.reshape(size, 4, size, 4, 3).mean((1, 3))
    titles = (f"{size} px", f"{4 * size} px, the same SNR", f"the larger, shrunk to {size}")
    for place, image, title in zip(axes, (_noisy(small, schedule, t, 0), seen, averaged), titles, strict=True):
        place.imshow(np.clip(image, 0, 1), interpolation="none")
        place.set_title(title, fontsize=10, loc="center")
    return figure


def effort(recipe: str, *, mode: Mode = "light") -> Figure:
    """Shares of weight, loss and gradient energy by fifths of the timesteps, for two kinds of denoiser."""
    theme = THEMES[mode]
    label, parsed = parse_recipe(recipe)
    tables = parsed.tables()
    profiles = {"measured on the small model that ships": shipped_profile(),
                "an ideal denoiser of Gaussian data": ideal_profile(tables.log_snr)}  # fmt: skip
    with mpl.rc_context(THEMES[mode].rc()):
        figure = Figure(figsize=(WIDTH, 4.8), layout="constrained")
        grid = figure.subplots(2, 1, sharey=True)
        edges = np.linspace(0, len(tables.t), FIFTHS + 1).astype(int)
        for axes, (title, profile) in zip(grid, profiles.items(), strict=True):
            by_kind = shares(tables, profile)
            for index, kind in enumerate(SHARES):
                values = 100 * np.array(shares_by_fifth(by_kind[kind]))
                axes.bar(np.arange(FIFTHS) + 0.28 * (index - 1), values, 0.26, color=theme.lines[index],
                         hatch=("", "///", "...")[index], edgecolor=theme.paper, label=kind)  # fmt: skip
            axes.set_xticks(range(FIFTHS), [f"{a}-{b - 1}" for a, b in pairwise(edges)])
            axes.tick_params(axis="x", labelsize=10)
            axes.set_title(f"{label}: {title}", fontsize=11)
            axes.set_ylabel("share of all, %")
            axes.grid(visible=False, axis="x")
        grid[1].set_xlabel("timestep t (noise grows to the right)")
        grid[0].legend(frameon=False, fontsize=11, title="share of", alignment="left")
        return figure


def sampling(*, mode: Mode = "light") -> Figure:
    """How much more variance samples have than those of the plain network, against the number of sampling steps."""
    theme = THEMES[mode]
    schedule = SCHEDULES.bind("sd")()
    counts = np.unique(np.geomspace(20, 1000, 24).astype(int))
    named = {"ip_noise": "IP noise 0.1", "epsilon_scaling": "plain network, output\ndivided by 1.005",
             "perturbed_target": "noisier input\nalone"}  # fmt: skip
    places = (1.14, 0.92, 0.08)
    plain = np.array([sampled_variance(schedule, "plain", int(n)) for n in counts])
    with mpl.rc_context(THEMES[mode].rc()):
        figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
        axes = figure.subplots()
        for index, ((name, label), place) in enumerate(zip(named.items(), places, strict=True)):
            values = [sampled_variance(schedule, name, int(n)) for n in counts]
            style = theme.line(index)
            axes.plot(counts, 100 * (values / plain - 1), **style)
            axes.annotate(label, (1000, place), (1060, place), color=style["color"], va="center", fontsize=10.5,
                          annotation_clip=False)  # fmt: skip
        axes.set_xscale("log")
        axes.set_xticks([20, 50, 100, 200, 500, 1000], ["20", "50", "100", "200", "500", "1000"])
        axes.minorticks_off()
        axes.set_xlim(20, 1000)
        axes.set_ylim(0, 1.35)
        axes.set_xlabel("sampling steps (DDPM ancestral)")
        axes.set_ylabel("variance of the samples,\n% above the plain network's")
        return figure


DRAWINGS: Mapping[str, Callable[..., Figure]] = {
    f.__name__: f for f in (front, noise_levels, two_sizes, effort, sampling)
}


def _picture() -> Any:
    index = next(i for i, concept in enumerate(emoji.concepts("noto")) if concept.name == SHOWN)
    return emoji.images("noto")[index] / 255.0


def at_level(log_snr: float) -> Any:
    """The picture at one noise level of Stable Diffusion's schedule: numbers from 0 to 1 [height, width, 3]."""
    schedule = SCHEDULES.bind("sd")()
    return _noisy(_picture(), schedule, int(np.argmin(np.abs(schedule.log_snr - log_snr))), 0)


def _noisy(image: Any, schedule: Any, t: int, seed: int) -> Any:
    """x_t of pixels in [-1, 1], back in [0, 1]."""
    eps = np.random.default_rng(seed).standard_normal(image.shape)
    x_t = schedule.alpha[t] * (2 * image - 1) + schedule.sigma[t] * eps
    return np.clip(x_t / 2 + 0.5, 0, 1)


def _figure(rows: int, columns: int, size: tuple[float, float], mode: Mode) -> tuple[Figure, list[Any]]:
    with mpl.rc_context(THEMES[mode].rc()):
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in grid:
            axes.set(xticks=[], yticks=[])
            axes.grid(visible=False)
            axes.spines["left"].set_visible(False)
            axes.spines["bottom"].set_visible(False)
        return figure, list(grid)
