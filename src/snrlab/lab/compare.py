"""Several recipes against the first: where their effort goes, how far apart, what the same learning rate means."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from snrlab.core.errors import UserError
from snrlab.core.recipe import Recipe, Tables
from snrlab.files.text import read_toml
from snrlab.lab.distance import SPACE, Law, emphasis_law, total_variation, wasserstein
from snrlab.lab.explain import understand
from snrlab.lab.profile import Profile, by_band, gradient_size, shares, shipped_profile
from snrlab.lab.recipe_text import parse_recipe
from snrlab.lab.tables import describe
from snrlab.peers.reading import read_source
from snrlab.peers.settings import Asked

SUFFIXES = (".toml", ".json", ".safetensors")
RATES = ("unet_lr", "learning_rate")  # in the order in which they decide about the UNet


@dataclass(frozen=True, eq=False)
class Member:
    """One of those compared.

    Attributes:
        label: what it goes by; what: what it is, in words.
        learning_rate: that its source states for the UNet, or None.
        bands: share of weight (in v space) and of gradient energy by SNR band.
        gradient: expected size of a picture's gradient under the profile.
    """

    label: str
    what: str
    recipe: Recipe
    tables: Tables
    learning_rate: float | None
    law: Law
    bands: dict[str, dict[str, float]]
    gradient: float


@dataclass(frozen=True)
class Distance:
    """Between two members: the total variation, and how far effort moves in nats of log-SNR, and which way."""

    first: str
    second: str
    total_variation: float
    wasserstein: float
    shift: float


@dataclass(frozen=True, eq=False)
class Comparison:
    """Members in the order in which they were named; everything is relative to the first."""

    members: tuple[Member, ...]
    distances: tuple[Distance, ...]
    profile: str

    @property
    def first(self) -> Member:
        """What the others are compared with."""
        return self.members[0]

    def ratio(self, member: Member) -> float:
        """Its expected gradient over the first one's."""
        return member.gradient / self.first.gradient

    def matched(self, member: Member) -> float | None:
        """The learning rate with which plain gradient descent takes steps as large as the first one's at its own."""
        return None if self.first.learning_rate is None else self.first.learning_rate / self.ratio(member)


def compare(texts: Sequence[str]) -> Comparison:
    """Compare sources (paths) and recipes (as one line each); one source alone is compared with what it meant.

    Raises:
        UserError: fewer than two, one label twice, a source or recipe that cannot be read, or weights without end.
    """
    named = [entry for text in texts for entry in read(text, alone=len(texts) == 1)]
    labels = [label for label, *_ in named]
    for label in labels:
        if labels.count(label) > 1:
            raise UserError(f"two of them are called '{label}'; give one of them a name: \"Name = {label}\".")
    if len(named) < 2:
        raise UserError(f"'{texts[0]}' alone has nothing to be compared with; name another, such as min_snr.")
    profile = shipped_profile()
    members = tuple(_member(*entry, profile) for entry in named)
    pairs = combinations(members, 2) if len(members) <= 4 else ((members[0], m) for m in members[1:])
    return Comparison(members, tuple(_distance(a, b) for a, b in pairs), profile.of)


def read(text: str, *, alone: bool = False) -> list[tuple[str, str, Recipe, float | None]]:
    """(label, what it is, recipe, learning rate) of a path or a recipe, either after `Label = `.

    A trainer's file stands for what that trainer really computes; `alone`, what was meant follows where that differs.
    """
    label, found, rest = text.partition(" = ")
    source = (rest if found else text).strip()
    if not is_source(source):
        name, recipe = as_recipe(text)
        return [(name, describe(recipe), recipe, None)]
    path = Path(source)
    asked = read_source(path)
    understood = understand(asked)
    name = label.strip() if found else asked.source
    rate = _learning_rate(asked, path)
    is_it = understood.as_is
    entries = [(name, f"{asked.kind}: {describe(is_it)}", is_it, rate)]
    if alone and understood.changes:
        meant = understood.as_meant
        entries.append((f"{name}, as meant", f"what was probably meant: {describe(meant)}", meant, rate))
    return entries


def is_source(text: str) -> bool:
    r"""Whether words are a path: something there, the ending of a known file, or what no recipe has.

    A recipe has a dot or a separator only in a parameter, so behind a colon or an equals sign.

    >>> [is_source(text) for text in ("runs/nothing", "lora.safetensors", "./x", "run.tml", r"C:\a")]
    [True, True, True, True, True]
    >>> [is_source(text) for text in ("min_snr", "min_snr:gamma=0.5 p2", "curve:points=-5/0.2;0/1")]
    [False, False, False]
    """
    path = Path(text)
    try:
        there = path.exists()
    except OSError:  # too long for a name
        there = False
    on_a_drive = re.match(r"[A-Za-z]:[\\/]", text) is not None
    return there or path.suffix.lower() in SUFFIXES or on_a_drive or bool(re.fullmatch(r"[^:=]*[./\\][^:=]*", text))


def as_recipe(text: str) -> tuple[str, Recipe]:
    """(label, recipe) of a line; a lone word that is like nothing known may have been meant as a file (UserError)."""
    try:
        return parse_recipe(text)
    except UserError as reason:
        if re.fullmatch(r"[\w-]+", text) and "Did you mean" not in str(reason):
            raise UserError(f"there is no file or run {text}, and it is no recipe. {reason}") from None
        raise


def _member(label: str, what: str, recipe: Recipe, rate: float | None, profile: Profile) -> Member:
    tables = recipe.tables()
    drawn = tables.p > 0
    if not np.isfinite(tables.weight[drawn]).all():
        raise UserError(f"{label}: the weight is infinite at t = {np.flatnonzero(drawn)[-1]}, so it has no shares.")
    if tables.mean_weight == 0:
        raise UserError(f"{label}: every weight is 0, so nothing is trained.")
    bands = {
        "weight": by_band(tables.weight_share(SPACE), tables.snr),
        "gradient": by_band(shares(tables, profile)["gradient"], tables.snr),
    }
    return Member(label, what, recipe, tables, rate, emphasis_law(tables), bands, gradient_size(tables, profile))


def _distance(one: Member, other: Member) -> Distance:
    a, b = one.law, other.law
    return Distance(one.label, other.label, total_variation(a, b), wasserstein(a, b), b.mean - a.mean)


def _learning_rate(asked: Asked, path: Path) -> float | None:
    options: Any = asked.options
    if asked.trainer == "snrlab":
        file = path / "run.toml" if path.is_dir() else path
        options = read_toml(file).get("train", {}) if file.suffix == ".toml" else {}
    for name in RATES:
        value = options.get(name) if isinstance(options, dict) else None
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            return float(value)
    return None


def as_data(found: Comparison) -> dict[str, Any]:
    """The comparison as plain data."""
    return {
        "profile": found.profile,
        "space": SPACE,
        "members": [
            {
                "label": m.label,
                "what": m.what,
                "recipe": m.recipe.as_dict(),
                "weight_share": m.bands["weight"],
                "gradient_share": m.bands["gradient"],
                "weight_share_without_signal": m.law.without_signal,
                "mean_log_snr": m.law.mean,
                "mean_weight": m.tables.mean_weight,
                "effective_sample_size": m.tables.effective_sample_size,
                "gradient_ratio": found.ratio(m),
                "learning_rate": m.learning_rate,
                "matched_learning_rate_sgd": found.matched(m),
            }
            for m in found.members
        ],
        "distances": [
            {name: getattr(d, name) for name in ("first", "second", "total_variation", "wasserstein", "shift")}
            for d in found.distances
        ],
    }
