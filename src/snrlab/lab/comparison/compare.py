"""Recipes compared with the first: where their effort goes, how far apart it is, what a learning rate means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from snrlab.core.errors import UserError
from snrlab.core.recipe import Recipe, Tables
from snrlab.lab.comparison.distance import SPACE, Law, emphasis_law, total_variation, wasserstein
from snrlab.lab.profile import Profile, gradient_size, shares, shares_by_band, shipped_profile
from snrlab.lab.recipe_source import NamedRecipe, is_source, read_recipes


@dataclass(frozen=True, eq=False)
class Member:
    """A recipe under comparison.

    Attributes:
        label: its name in the comparison.
        description: the recipe in a line.
        learning_rate: the UNet's learning rate in its source, or None.
        law: distribution of its effort over log-SNR.
        bands: share of weight (in v space) and of gradient energy, by SNR band.
        gradient: expected norm of one image's gradient under the profile.
        assumption: the sentence that names what was assumed to complete the recipe; empty if nothing was.
    """

    label: str
    description: str
    recipe: Recipe
    tables: Tables
    learning_rate: float | None
    law: Law
    bands: dict[str, dict[str, float]]
    gradient: float
    assumption: str = ""


@dataclass(frozen=True)
class Distance:
    """Distance between two members: total variation (0 to 1), and distance and mean shift in nats of log-SNR."""

    first: str
    second: str
    total_variation: float
    wasserstein: float
    shift: float


@dataclass(frozen=True, eq=False)
class Comparison:
    """Members in the order given; everything is relative to the first."""

    members: tuple[Member, ...]
    distances: tuple[Distance, ...]
    profile: str

    @property
    def first(self) -> Member:
        """The member that the others are compared with."""
        return self.members[0]

    def ratio(self, member: Member) -> float:
        """Expected gradient of a member divided by that of the first."""
        return member.gradient / self.first.gradient

    def matched(self, member: Member) -> float | None:
        """The learning rate at which plain gradient descent takes steps as large as the first member's."""
        return None if self.first.learning_rate is None else self.first.learning_rate / self.ratio(member)


def compare(texts: Sequence[str]) -> Comparison:
    """Compare sources (paths) and recipes (one line each); a single source is compared with what it probably meant.

    Raises:
        UserError: fewer than two members, a label given twice, an unreadable source or recipe, or infinite weights.
    """
    named = [entry for text in texts for entry in read_recipes(text, with_meant=len(texts) == 1)]
    labels = [entry.label for entry in named]
    for label in labels:
        if labels.count(label) > 1:
            raise UserError(
                f"two of them are called '{label}'; give one of them a name: \"Name = {label}\".", code="stated-twice"
            )
    if len(named) < 2:
        reason = "does what it says" if is_source(texts[0]) else "alone cannot be compared"
        raise UserError(f"{texts[0]} {reason}; name a second file or recipe, such as plain.", code="nothing-to-do")
    profile = shipped_profile()
    members = tuple(_member(entry, profile) for entry in named)
    pairs = combinations(members, 2) if len(members) <= 4 else ((members[0], m) for m in members[1:])
    return Comparison(members, tuple(_distance(a, b) for a, b in pairs), profile.description)


def _member(named: NamedRecipe, profile: Profile) -> Member:
    label, recipe = named.label, named.recipe
    tables = recipe.tables()
    drawn = tables.p > 0
    if not np.isfinite(tables.weight[drawn]).all():
        raise UserError(
            f"{label}: the weight is infinite at t = {np.flatnonzero(drawn)[-1]}, so it has no shares.",
            code="unusable-weights",
        )
    if tables.mean_weight == 0:
        raise UserError(f"{label}: every weight is 0, so nothing is trained.", code="unusable-weights")
    bands = {
        "weight": shares_by_band(tables.weight_share(SPACE), tables.snr),
        "gradient": shares_by_band(shares(tables, profile)["gradient"], tables.snr),
    }
    law, gradient = emphasis_law(tables), gradient_size(tables, profile)
    return Member(label, named.description, recipe, tables, named.learning_rate, law, bands, gradient, named.assumption)


def _distance(one: Member, other: Member) -> Distance:
    a, b = one.law, other.law
    return Distance(one.label, other.label, total_variation(a, b), wasserstein(a, b), b.mean - a.mean)


def comparison_as_data(comparison: Comparison) -> dict[str, Any]:
    """The comparison as plain data."""
    return {
        "profile": comparison.profile,
        "space": SPACE,
        "members": [
            {
                "label": m.label,
                "what": m.description,
                "assumption": m.assumption,
                "recipe": m.recipe.as_dict(),
                "weight_share": m.bands["weight"],
                "gradient_share": m.bands["gradient"],
                "weight_share_without_signal": m.law.without_signal,
                "mean_log_snr": m.law.mean,
                "mean_weight": m.tables.mean_weight,
                "effective_sample_size": m.tables.effective_sample_size,
                "gradient_ratio": comparison.ratio(m),
                "learning_rate": m.learning_rate,
                "matched_learning_rate_sgd": comparison.matched(m),
            }
            for m in comparison.members
        ],
        "distances": [
            {name: getattr(d, name) for name in ("first", "second", "total_variation", "wasserstein", "shift")}
            for d in comparison.distances
        ],
    }
