"""Rules that find what a user should know about a recipe before training, with the numbers behind it.

A finding of grade error makes `table` and `train` refuse the recipe; plots and explanations still show it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from snrlab.core.errors import UserError
from snrlab.core.findings.finding import GRADES, Finding, timestep_ranges
from snrlab.core.recipe import RARE_PROBABILITY, Recipe, Tables
from snrlab.core.registries.registry import Choice
from snrlab.core.weights.loss_weight import is_multiplier, loss_weight


def learns(recipe: Recipe, tables: Tables) -> Iterator[Finding]:
    """A density or sampling that learns from the loss, and what the tables then show."""
    if recipe.density.entry.properties.learns:
        yield Finding(
            "density_learns",
            "warning",
            f"{recipe.density.name} picks timesteps in proportion to their loss so far and does not correct for that. "
            "The numbers and figures show where training starts, not where it ends.",
            'To pick by the loss and keep the objective, use sampling = "importance".',
        )
    if recipe.sampling.entry.properties.learns:
        most = 1 / recipe.sampling.params["floor"]
        yield Finding(
            "sampling_learns",
            "info",
            f"{recipe.sampling.name} picks timesteps by their loss so far and divides each loss by how often it is "
            "picked, so shares and emphasis stay those of the density. "
            f"Single losses count up to {most:.3g} times.",
            "",
            {"most": most},
        )


FindingRule = Callable[[Recipe, Tables], Iterator[Finding]]


def epsilon_without_signal(recipe: Recipe, tables: Tables) -> Iterator[Finding]:
    """Epsilon-prediction on a schedule with zero terminal SNR: at the last timestep nothing can be learnt about x0."""
    if recipe.prediction_type == "epsilon" and tables.schedule.terminal_snr_is_zero:
        yield Finding(
            "epsilon_zero_terminal_snr",
            "error",
            "with zero terminal SNR, the last step of epsilon-prediction shows the network pure noise and asks for "
            "that noise, so it learns nothing about the picture there.",
            "Use prediction v_prediction (the model must be one), or leave out zero_terminal_snr.",
            {"t": float(tables.t[-1])},
        )


def weight_infinite(recipe: Recipe, tables: Tables) -> Iterator[Finding]:
    """Timesteps that are drawn and have an infinite weight."""
    at = _where(tables, ~np.isfinite(tables.weight))
    if len(at):
        yield Finding(
            "weight_infinite",
            "error",
            f"the training weight is infinite at {timestep_ranges(at)}.",
            "Set max_weight, or choose a weighting that is finite at SNR = 0.",
            {"steps": len(at), "first": float(at[0])},
        )


def weight_zero(recipe: Recipe, tables: Tables) -> Iterator[Finding]:
    """Timesteps that are drawn but have weight 0, so that they get no gradient."""
    at = _where(tables, tables.weight == 0)
    if len(at):
        yield Finding(
            "weight_zero",
            "warning",
            f"{timestep_ranges(at)} {'is' if len(at) == 1 else 'are'} trained with weight 0 and so never "
            f"{'improves' if len(at) == 1 else 'improve'}.",
            "Set min_weight, for example to 0.01.",
            {"steps": len(at), "first": float(at[0])},
        )


def double_counting(recipe: Recipe, tables: Tables) -> Iterator[Finding]:
    """Weightings whose product counts a conversion between prediction types twice."""
    weightings = [c for c in recipe.weighting if not is_multiplier(c)]
    multipliers = [c for c in recipe.weighting if is_multiplier(c)]
    if weightings and multipliers:
        factor = loss_weight(multipliers, tables.log_snr, recipe.prediction_type)
        yield Finding(
            "double_counting",
            "warning",
            f"{_names(weightings)} already converts the loss to {recipe.prediction_type}, and {_names(multipliers)} "
            f"converts it again: its factor ({factor.min():.3g} to {factor.max():.3g}) counts twice.",
            f"Drop {_names(multipliers)}.",
            {"smallest": float(factor.min()), "largest": float(factor.max())},
        )
    if len(weightings) > 1 and recipe.product_on == "network":
        one = loss_weight(weightings, tables.log_snr, recipe.prediction_type, "epsilon")
        two = loss_weight(weightings, tables.log_snr, recipe.prediction_type, "network")
        ratio = (two / one)[np.isfinite(two / one)]
        if np.ptp(ratio) > 1e-9:
            yield Finding(
                "product_on_network",
                "warning",
                f"{_names(weightings)} multiply on the network's own loss, so the conversion to "
                f"{recipe.prediction_type} counts {len(weightings)} times. The weights are {ratio.min():.3g} to "
                f"{ratio.max():.3g} times the right ones.",
                'Use product_on = "epsilon" unless you want to reproduce another trainer.',
                {"smallest": float(ratio.min()), "largest": float(ratio.max())},
            )


def damped_twice(recipe: Recipe, tables: Tables) -> Iterator[Finding]:
    """Timesteps that two weightings both push below half."""
    weightings = [c for c in recipe.weighting if not is_multiplier(c)]
    each = [loss_weight([c], tables.log_snr, "epsilon") for c in weightings]
    low = np.sum([w < 0.5 for w in each], axis=0) > 1 if each else np.zeros_like(tables.p, dtype=bool)
    at = _where(tables, low)
    if len(at):
        product = float(np.nanmin(tables.weight_epsilon[at]))
        yield Finding(
            "damped_twice",
            "warning",
            f"{_names(weightings)} each more than halve the weight of {timestep_ranges(at)}; together they "
            f"multiply it by as little as {product:.2g}.",
            "Fine detail is trained there: keep one of them if you want it.",
            {"steps": len(at), "smallest": product},
        )


def loss_scale(recipe: Recipe, tables: Tables) -> Iterator[Finding]:
    """A mean weight other than 1, and a small effective sample size."""
    mean, size = tables.mean_weight, tables.effective_sample_size
    if not np.isfinite(mean):
        return
    if abs(mean - 1) > 0.02:
        yield Finding(
            "loss_scale",
            "warning" if not 0.5 <= mean <= 2 else "info",
            f"the weights average {mean:.3g} instead of 1, so do not compare your loss numbers with those of a run "
            "without weighting.",
            "With AdamW keep the learning rate. For SGD and gradient clipping, `snrlab compare` estimates the change.",
            {"mean_weight": mean},
        )
    if size < 0.98:
        yield Finding(
            "effective_sample_size",
            "warning" if size < 0.5 else "info",
            f"steps are noisier, since the weights are uneven: four images count like {4 * size:.2g} with equal "
            "weights.",
            "Raise the batch size, or limit the weights (max_weight in a run file)." if size < 0.5 else "",
            {"effective_sample_size": size},
        )


def limits(recipe: Recipe, tables: Tables) -> Iterator[Finding]:
    """Timesteps at which max_weight and min_weight act, or that they never do."""
    capped = recipe.max_weight is not None and tables.raw_weight > recipe.max_weight
    raised = recipe.min_weight is not None and tables.raw_weight < recipe.min_weight
    for name, value, mask in (("max_weight", recipe.max_weight, capped), ("min_weight", recipe.min_weight, raised)):
        if value is None:
            continue
        at = _where(tables, np.asarray(mask))
        message = (
            f"{name} {value:g} acts on {timestep_ranges(at)}."
            if len(at)
            else f"{name} {value:g} has no effect: no weight goes beyond it."
        )
        yield Finding(name, "info" if len(at) else "warning", message, "", {"steps": len(at)})


def perturbation(recipe: Recipe, tables: Tables) -> Iterator[Finding]:
    """Effect of input perturbation on the loss, and uses of it beyond the paper."""
    if recipe.perturbation is None or not tables.ip_gamma.any():
        return
    strongest, floor = float(tables.ip_gamma.max()), float(tables.ip_floor.max())
    yield Finding(
        "perturbation_floor",
        "info",
        f"{recipe.perturbation.name} raises the reported loss by up to {floor:.4g}, which no training removes.",
        "Do not compare the loss with that of a run without it.",
        {"largest_floor": floor, "largest_gamma": strongest},
    )
    if recipe.perturbation.entry.properties.random_strength:
        yield Finding(
            "perturbation_random",
            "info",
            f"a random strength between 0 and gamma acts like a constant one of {strongest:.4g}, gamma / sqrt(3).",
            "",
            {"rms": strongest},
        )
    if recipe.prediction_type != "epsilon":
        yield Finding(
            "perturbation_not_the_paper",
            "warning",
            f"input perturbation was made and tested for epsilon. With {recipe.prediction_type} it acts the other way "
            "at some timesteps or at all of them.",
            f"Leave {recipe.perturbation.name} out, or treat the result as an experiment.",
        )


def peer_variant(recipe: Recipe, tables: Tables) -> Iterator[Finding]:
    """Weightings that reproduce a peer's formula instead of the paper's."""
    for choice in recipe.weighting:
        peer = choice.entry.properties.peer
        if peer is None:
            continue
        message = f"{choice.name} is the formula of {peer.program}, not the paper's: {peer.deviates}."
        yield Finding("peer_variant", "info", message)
        if peer.stated_for != recipe.prediction_type:
            yield Finding(
                "peer_prediction_type",
                "error" if is_multiplier(choice) else "warning",
                f"{choice.name} is what {peer.program} does for {peer.stated_for}, but this recipe predicts "
                f"{recipe.prediction_type}.",
                f"Drop {choice.name}."
                if is_multiplier(choice)
                else f"It is converted here, which {peer.program} would not do.",
            )


def never_trained(recipe: Recipe, tables: Tables) -> Iterator[Finding]:
    """Timesteps that the density never or hardly ever draws."""
    at = np.flatnonzero(tables.rarely_drawn)
    if len(at):
        terminal = tables.schedule.terminal_snr_is_zero and at[-1] == tables.t[-1]
        picks = f"{1 / RARE_PROBABILITY:,.0f} picks"
        rarely = "" if (tables.p[at] == 0).all() else f"picked less than once in {picks}, so in effect "
        yield Finding(
            "never_trained",
            "warning" if terminal else "info",
            f"{timestep_ranges(at)} {'is' if len(at) == 1 else 'are'} {rarely}never trained"
            + (", and pictures start from the last of them." if terminal else "."),
            "Let the density reach the last timestep." if terminal else "",
            {"steps": len(at)},
        )


def noise_shape(recipe: Recipe, tables: Tables) -> Iterator[Finding]:
    """Effect of a noise shape other than Gaussian."""
    if recipe.noise is not None and recipe.noise.entry.properties.changes:
        yield Finding("noise_shape", "info", f"noise {recipe.noise.name}: {recipe.noise.entry.properties.changes}.")


_RULES: tuple[FindingRule, ...] = (
    epsilon_without_signal,
    weight_infinite,
    weight_zero,
    double_counting,
    damped_twice,
    loss_scale,
    limits,
    perturbation,
    peer_variant,
    never_trained,
    noise_shape,
    learns,
)


def _where(tables: Tables, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.flatnonzero((tables.p > 0) & mask)


def _names(choices: Sequence[Choice]) -> str:
    return " x ".join(c.name for c in choices)


__all__ = ["Finding", "findings", "refuse_errors"]


def findings(recipe: Recipe, tables: Tables | None = None) -> list[Finding]:
    """All findings on a recipe, errors first; a later stage adds those with a message that no earlier one has."""
    tables = recipe.tables() if tables is None else tables
    collected = _stage_findings(recipe, tables)
    messages = {f.message for f in collected}
    for start, stage in recipe.by_stage()[1:]:
        new = [f for f in _stage_findings(stage, stage.tables()) if f.message not in messages]
        messages |= {f.message for f in new}
        collected += [replace(f, message=f"from step {start}: {f.message}") for f in new]
    return sorted(collected, key=lambda f: GRADES.index(f.grade))


def _stage_findings(recipe: Recipe, tables: Tables) -> list[Finding]:
    with np.errstate(all="ignore"):
        return [finding for rule in _RULES for finding in rule(recipe, tables)]


def refuse_errors(findings: list[Finding]) -> None:
    """Raise UserError with the findings of grade error, if there are any."""
    errors = [f for f in findings if f.grade == "error"]
    if errors:
        raise UserError("\n".join(f"{f.in_full} [{f.code}]" for f in errors), code="invalid-recipe")
