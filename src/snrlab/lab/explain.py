"""What a configuration really does: asked, computed, where the effort goes, what to know, what was meant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snrlab.config.option_tables.kohya import SECRETS
from snrlab.core.bands import BANDS
from snrlab.core.findings.finding import GRADES, Finding, timestep_ranges
from snrlab.core.findings.recipe_findings import findings
from snrlab.core.recipe import Recipe, Tables
from snrlab.lab.profile import Profile, shares, shares_by_band, shares_by_fifth, shipped_profile
from snrlab.peers.interpretation import interpret
from snrlab.peers.reading import read_source
from snrlab.peers.settings import Interpretation, Settings

# what the trainer's own account of a setting already says
SAID_OTHERWISE = {"peer_variant", "peer_prediction_type", "product_on_network", "double_counting", "damped_twice"}


@dataclass(frozen=True, eq=False)
class Effort:
    """Where a recipe's effort goes, each share by its name.

    Attributes:
        fifths: share of weight, loss and gradient energy by fifths of the timesteps, cleanest first.
        bands: the same by SNR band.
        mean_weight, effective_sample_size, floor: of the weights, and the largest loss that perturbation leaves.
        untrained: timesteps that are never drawn or have weight 0, as ranges.
    """

    fifths: Mapping[str, list[float]]
    bands: Mapping[str, dict[str, float]]
    mean_weight: float
    effective_sample_size: float
    floor: float
    untrained: str


@dataclass(frozen=True, eq=False)
class Explanation:
    """All that is said about a source; `later` is the effort of later stages, with the steps they start at."""

    understood: Interpretation
    found: tuple[Finding, ...]
    as_is: Effort | None
    as_meant: Effort | None
    profile: str
    later: tuple[tuple[int, Effort | None], ...] = ()

    @property
    def asked(self) -> Settings:
        """What the source states."""
        return self.understood.asked


def explain(path: Path) -> Explanation:
    """Explain a file or run folder (UserError where there is nothing to explain)."""
    return explain_asked(read_source(path))


def explain_asked(asked: Settings) -> Explanation:
    """Explain settings that were read."""
    understood = interpret(asked)
    profile = shipped_profile()
    own = findings(understood.as_is)
    skip = SAID_OTHERWISE if asked.trainer != "snrlab" else set()
    own = [f for f in own if (f.code, f.grade) != ("effective_sample_size", "info")]  # the effort says it
    found = [*understood.found, *(f for f in own if f.code not in skip)]
    ordered = tuple(sorted(found, key=lambda f: GRADES.index(f.grade)))
    (_, first), *stages = understood.as_is.by_stage()
    later = tuple((start, _effort(stage, profile)) for start, stage in stages)
    return Explanation(
        understood, ordered, _effort(first, profile), _effort(understood.as_meant, profile), profile.of, later
    )


def _effort(recipe: Recipe, profile: Profile) -> Effort | None:
    """None where the recipe has no finite weights."""
    tables = recipe.tables()
    if not np.isfinite(tables.weight[tables.p > 0]).all() or tables.mean_weight == 0:
        return None
    found = shares(tables, profile)
    return Effort(
        fifths={name: shares_by_fifth(share) for name, share in found.items()},
        bands={name: shares_by_band(share, tables.snr) for name, share in found.items()},
        mean_weight=tables.mean_weight,
        effective_sample_size=tables.effective_sample_size,
        floor=float(tables.ip_floor.max()),
        untrained=_untrained(tables),
    )


def _untrained(tables: Tables) -> str:
    at = np.flatnonzero(tables.seldom | (tables.weight == 0))
    return timestep_ranges(at) if len(at) else ""


def explanation_as_data(explained: Explanation) -> dict[str, Any]:
    """The explanation as plain data."""
    understood = explained.understood

    def effort(found: Effort | None) -> dict[str, Any] | None:
        return None if found is None else {k: getattr(found, k) for k in found.__dataclass_fields__}

    return {
        "source": explained.asked.source,
        "kind": explained.asked.kind,
        "program": understood.version,
        "assumption": explained.asked.assumption,
        "asked": {k: v for k, v in explained.asked.options.items() if _plain(v) and k not in SECRETS},
        "does": list(understood.does),
        "recipe_as_is": understood.as_is.as_dict(),
        "recipe_as_meant": understood.as_meant.as_dict(),
        "changes": [change.text for change in understood.changes],
        "effort_as_is": effort(explained.as_is),
        "effort_as_meant": effort(explained.as_meant),
        "effort_later": {str(start): effort(stage) for start, stage in explained.later},
        "profile": explained.profile,
        "bands": list(BANDS),
        "findings": [
            {"code": f.code, "grade": f.grade, "message": f.message, "action": f.action, "numbers": dict(f.numbers)}
            for f in explained.found
        ],
    }


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool | list | dict)
