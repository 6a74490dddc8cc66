"""Causes of what a recipe does, and what to do about them, in words: by the codes of findings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from snrlab.core.findings.finding import Finding
from snrlab.core.recipe import Recipe

_TITLES: Mapping[str, str] = {
    "min_snr": "Min-SNR",
    "soft_min_snr": "Soft-Min-SNR",
    "max_snr": "Max-SNR",
    "debiased": "Debiased",
    "kohya_debiased_v": "kohya's Debiased",
    "onetrainer_debiased_v": "OneTrainer's Debiased",
    "p2": "P2",
    "onetrainer_p2_v": "OneTrainer's P2",
}


def weighting_titles(recipe: Recipe) -> list[str]:
    """The names of a recipe's weightings as papers write them.

    A weighting that wraps another one has the name of that.
    """
    names = [str(c.params.get("of", c.name)).partition(":")[0] for c in recipe.weighting]
    return [_TITLES.get(name, name) for name in names]


def enumerated(names: Sequence[str], word: str = "and") -> str:
    """Names as a list in a sentence.

    >>> enumerated(["A"]), enumerated(["A", "B", "C"]), enumerated(["A", "B"], "or")
    ('A', 'A, B and C', 'A or B')
    """
    return f" {word} ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def _multiply(recipe: Recipe) -> str:
    return f"because {enumerated(weighting_titles(recipe))} multiply"


# the cause of an uneven spread, by the code of the finding that has it, worst first
CAUSES: Mapping[str, Callable[[Recipe], str]] = {
    "double_counting": _multiply,
    "product_on_network": _multiply,
    "weights_multiply": _multiply,
    "damped_twice": _multiply,
}


def _keep_one(recipe: Recipe) -> str:
    return f"Keep only one: {enumerated(weighting_titles(recipe), 'or')}."


# what to do, where the finding's own action does not say it all
_ADVICE: Mapping[str, Callable[[Recipe], str]] = {"weights_multiply": _keep_one, "damped_twice": _keep_one}
_NOTHING_TO_DO = {"loss_scale"}  # warns of a comparison; there is nothing to change


def cause_of(recipe: Recipe, codes: Sequence[str]) -> tuple[str, str]:
    """(code of the finding, cause) of how a recipe spreads the training; the code is empty where none explains it.

    The cause can end a sentence, such as `because of Min-SNR`; it is empty for a recipe that changes nothing.
    """
    for code, cause in CAUSES.items():
        if code in codes and len(recipe.weighting) > 1:
            return code, cause(recipe)
    parts = weighting_titles(recipe)
    if recipe.density.entry.name != "uniform" or recipe.density.params != _default_parameters(recipe):
        parts.append(f"the density {recipe.density.name}")
    return "", f"because of {enumerated(parts)}" if parts else ""


def advice_of(recipe: Recipe, finding: Finding) -> str:
    """What to do about a finding; empty if there is nothing to do."""
    if finding.grade == "info" or finding.code in _NOTHING_TO_DO:
        return ""
    if finding.code in _ADVICE and len(recipe.weighting) > 1:
        return _ADVICE[finding.code](recipe)
    return finding.action


def _default_parameters(recipe: Recipe) -> dict[str, object]:
    return {name: parameter.default for name, parameter in recipe.density.entry.parameters.items()}
