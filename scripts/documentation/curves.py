"""The picture of each registry entry: its default, or example, parameters against what it is to be compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from documentation.drawings import WIDTH
from documentation.formula_notation import evaluate
from snrlab.core.recipe import Recipe, Tables
from snrlab.core.registries.registry import Entry
from snrlab.core.weights.loss_weight import is_multiplier
from snrlab.core.weights.weighting import WeightingProperties
from snrlab.lab.figures.plots import draw_figure, figure_bytes
from snrlab.lab.figures.theme import THEMES

LIGHT = THEMES["light"]
STRONG: Mapping[str, Mapping[str, Any]] = {
    "offset": {"strength": 0.7},
    "pyramid": {"discount": 0.8},
    "offset_pyramid": {"strength": 0.7, "discount": 0.8},
}
STEPS, WARMUP = 200, 20  # of the learning-rate graphs


def picture(entry: Entry) -> str:
    """SVG, or nothing for what has no curve (optimizers)."""
    make = KINDS.get(entry.kind)
    return make(entry) if make else ""


def example(entry: Entry) -> Any:
    """The entry with defaults, or with the examples of what has none."""
    return entry.bind(**{name: p.example for name, p in entry.parameters.items()})


def weighting(entry: Entry[WeightingProperties]) -> str:
    """The weight on the loss that the formula is stated for, beside the plain loss."""
    usual = "v_prediction" if entry.name == "epsilon" else "epsilon"  # on its own loss it is a line at 1
    space = entry.properties.peer.stated_for if entry.properties.peer else usual
    plain = Recipe(prediction_type=space)
    recipe = Recipe(prediction_type=space, weighting=(example(entry),))
    name = {"v_prediction": "plain v", "epsilon": "plain epsilon"}[space]
    log = not is_multiplier(entry.bind(**example(entry).params))
    return _recipes({name: plain.tables(), entry.name: recipe.tables()}, "weight", log=log)


def schedule(entry: Entry) -> str:
    """SNR(t), beside Stable Diffusion's."""
    recipes = {"sd": Recipe().tables()} if entry.name != "sd" else {}
    recipes[entry.name] = Recipe(schedule=example(entry), prediction_type="v_prediction").tables()
    return _recipes(recipes, "snr")


def density(entry: Entry) -> str:
    """How often each step is drawn; nothing of a density that learns, and is uniform until it has."""
    uniform, drawn = Recipe().tables(), Recipe(density=example(entry)).tables()
    if entry.name == "uniform":
        return _recipes({entry.name: drawn}, "density")
    return "" if np.allclose(drawn.p, uniform.p) else _recipes({"uniform": uniform, entry.name: drawn}, "density")


def perturbation(entry: Entry) -> str:
    """The loss that no training removes."""
    recipes = {"ip_noise": Recipe(perturbation=_constant()).tables()} if entry.name != "ip_noise" else {}
    return _recipes({**recipes, entry.name: Recipe(perturbation=example(entry)).tables()}, "perturbation")


def noise(entry: Entry) -> str:
    """Three examples of one channel, from the same normal noise for every shape, strong enough to be seen."""
    import torch

    params = {**{name: p.example for name, p in entry.parameters.items()}, **STRONG.get(entry.name, {})}
    choice = entry.bind(**params)

    with mpl.rc_context(LIGHT.rc()):
        figure = Figure(figsize=(WIDTH, 2.2), layout="constrained")
        for seed, axes in enumerate(figure.subplots(1, 3)):
            generator = torch.Generator().manual_seed(seed)
            eps = torch.randn(1, 48, 48, generator=generator)
            shown = choice(eps, torch.zeros_like(eps), np.random.default_rng(seed))[0]
            axes.imshow(shown, cmap="gray", vmin=-3, vmax=3, interpolation="none")
            axes.set(xticks=[], yticks=[])
            axes.grid(visible=False)
        if entry.name in STRONG:
            parameters = ", ".join(f"{name} {value:g}" for name, value in STRONG[entry.name].items())
            figure.suptitle(f"with {parameters}", fontsize=11, x=0.02, ha="left")
        return _svg(figure)


def loss(entry: Entry) -> str:
    """The loss of an error d, beside its square."""
    d, c_t = np.linspace(-2, 2, 401), 0.5
    curves = {"mse": d**2}
    if entry.name != "mse":
        curves[f"{entry.name}, c_t = {c_t:g}" if "c_t" in entry.formula else entry.name] = evaluate(
            entry.formula, {"d": d, "c_t": c_t}
        )
    return _curves(d, curves, "error d of one element of the prediction", "loss")


def lr_schedule(entry: Entry) -> str:
    """What the learning rate is multiplied by after the warm-up."""
    params = {name: p.example for name, p in entry.parameters.items()}
    steps = np.arange(STEPS)
    if "rules" in params:
        params["rules"] = "1:100,0.1:150,0.01"
    if "timescale" in params:
        params["timescale"] = WARMUP
    choice = entry.bind(**params)
    factors = [(s + 1) / WARMUP if s < WARMUP else choice(int(s), WARMUP, STEPS) for s in steps]
    label = f"step, of {STEPS} with {WARMUP} of warm-up"
    return _curves(steps, {entry.name: np.array(factors)}, label, "factor of the learning rate")


KINDS: Mapping[str, Callable[[Entry], str]] = {
    f.__name__: f for f in (weighting, schedule, density, perturbation, noise, loss, lr_schedule)
}


def _constant() -> Any:
    from snrlab.core.perturbation import PERTURBATIONS

    return PERTURBATIONS.bind("ip_noise")


def _recipes(recipes: Mapping[str, Tables], panel: str, *, log: bool = False) -> str:
    return _text(figure_bytes(draw_figure(recipes, [panel], log_weight=log, width=WIDTH), "svg"))


def _curves(x: Any, curves: Mapping[str, Any], across: str, up: str) -> str:
    with mpl.rc_context(LIGHT.rc()):
        figure = Figure(figsize=(WIDTH, 2.8), layout="constrained")
        axes = figure.subplots()
        for index, (label, y) in enumerate(curves.items()):
            axes.plot(x, y, label=label, **LIGHT.line(index))
        axes.set_xlim(x[0], x[-1])
        axes.set_ylim(bottom=0)
        axes.set(xlabel=across, ylabel=up)
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0)
        return _svg(figure)


def _svg(figure: Figure) -> str:
    with mpl.rc_context(LIGHT.rc()):
        return _text(figure_bytes(figure, "svg"))


def _text(content: bytes) -> str:
    text = content.decode()
    return text[text.index("<svg") :]
