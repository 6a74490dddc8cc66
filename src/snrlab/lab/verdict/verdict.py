"""Verdict on a recipe: where its training goes, why, whether that was meant, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from snrlab.core.findings.finding import Finding
from snrlab.core.recipe import Recipe, Tables
from snrlab.lab.verdict.causes import advice_of, cause_of, weighting_titles
from snrlab.lab.verdict.zones import DETAIL, NOISE, Zone, zones

EQUAL_SHARE = 0.005  # shares that differ by less count as those of plain training


@dataclass(frozen=True)
class Advice:
    """One thing to do; `code` is that of the finding behind it, or `meant` for what was probably wanted."""

    code: str
    text: str


@dataclass(frozen=True)
class Verdict:
    """The point of a recipe.

    Attributes:
        sentences: one to three sentences.
        advice: what to do, most important first; empty where nothing has to change.
        zones: share of the training by zone of noise; empty for a recipe without finite weights.
        plain: the same for plain training on the same schedule.
        cause: code of the finding that explains the shares; empty if none does.
        is_plain: whether the training is spread as in plain training.
    """

    sentences: tuple[str, ...]
    advice: tuple[Advice, ...]
    zones: tuple[Zone, ...]
    plain: tuple[Zone, ...]
    cause: str
    is_plain: bool

    def as_data(self) -> dict[str, Any]:
        """The verdict as plain data."""
        return asdict(self)


def verdict(recipe: Recipe, findings: Sequence[Finding], changes: Sequence[str] = ()) -> Verdict:
    """The verdict on a recipe.

    Args:
        recipe: any recipe; of one with stages the first is judged.
        findings: the findings on it, worst first.
        changes: what should be changed so that it does what was probably meant, as sentences.
    """
    tables = recipe.tables()
    advice = _advice(recipe, findings, changes)
    errors = [finding for finding in findings if finding.grade == "error"]
    if not has_shares(tables):
        reason = errors[0].message if errors else "the loss weights are not finite, or all of them are 0."
        return Verdict((f"This cannot be trained: {reason}",), advice, (), (), "", is_plain=False)
    shares = zones(tables.snr, tables.weight_share())
    reference = zones(tables.snr, tables.plain.weight_share())
    is_plain = all(abs(a.share - b.share) < EQUAL_SHARE for a, b in zip(shares, reference, strict=True))
    code, cause = cause_of(recipe, [finding.code for finding in findings])
    sentences = [f"This cannot be trained: {errors[0].message}"] if errors else []
    if is_plain and not errors:
        sentences.append("Training is spread over the noise levels as without any weighting.")
    elif not is_plain:
        sentences += _point(shares, reference, cause)
    if len(sentences) < 3 and not advice and not errors:
        sentences.append(_all_right(recipe, is_plain=is_plain))
    return Verdict(tuple(sentences[:3]), advice, shares, reference, code, is_plain)


def has_shares(tables: Tables) -> bool:
    """Whether the weights are finite where something is trained, and not all 0."""
    return bool(np.isfinite(tables.weight[tables.p > 0]).all()) and tables.mean_weight != 0


def percent(share: float) -> str:
    """A share in per cent, with one decimal below 10 % where it is not whole.

    >>> percent(0.588), percent(0.0069), percent(0.2), percent(0.0001)
    ('59 %', '0.7 %', '20 %', 'less than 0.1 %')
    """
    if 0 < share < 0.0005:
        return "less than 0.1 %"
    return f"{100 * share:.0f} %" if share >= 0.0995 or share == 0 else f"{100 * share:.1f} %"


def _point(shares: Sequence[Zone], reference: Sequence[Zone], cause: str) -> list[str]:
    """Where most of the change is seen: at the noisy end and at the clean end, beside plain training."""
    ends = [zone for name in (NOISE, DETAIL) for zone in shares if zone.name == name and zone.timesteps]
    plain = {zone.name: percent(zone.share) for zone in reference}
    if not ends:  # a schedule that has neither end
        ends = list(shares[1:3])
    first, *others = ends
    text = f"{percent(first.share)} of the training goes to {first.name} ({first.timesteps})"
    text += "".join(f" and {percent(zone.share)} to {zone.name} ({zone.timesteps})" for zone in others)
    because = f", {cause}" if cause else ""
    compared = " and ".join(plain[zone.name] for zone in ends)
    return [f"{text}{because}.", f"Plain training gives {'them' if others else 'it'} {compared}."]


def _all_right(recipe: Recipe, *, is_plain: bool) -> str:
    titles = weighting_titles(recipe)
    if len(titles) == 1 and not is_plain:
        return f"That is what {titles[0]} is made for; nothing has to be changed."
    return "Nothing has to be changed."


def _advice(recipe: Recipe, findings: Sequence[Finding], changes: Sequence[str]) -> tuple[Advice, ...]:
    by_text: dict[str, str] = {}
    for finding in findings:
        text = advice_of(recipe, finding)
        if text:
            by_text.setdefault(text, finding.code)
    for change in changes:
        by_text.setdefault(change, "meant")
    return tuple(Advice(code, text) for text, code in by_text.items())
