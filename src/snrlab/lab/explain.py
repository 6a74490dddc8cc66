"""Explanation of a configuration: its settings, what they compute, where the effort goes, what was meant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snrlab.config.option_tables.kohya import SECRETS
from snrlab.core.bands import BANDS
from snrlab.core.findings.finding import GRADES, Finding, timestep_ranges
from snrlab.core.findings.recipe_findings import findings
from snrlab.core.recipe import Tables
from snrlab.lab.profile import Profile, shares, shares_by_band, shares_by_fifth, shipped_profile
from snrlab.lab.recipe_source import is_source, read_line, read_settings
from snrlab.lab.verdict.verdict import Verdict, has_shares, verdict
from snrlab.lab.verdict.zones import Zone, zones
from snrlab.peers.interpretation import interpret
from snrlab.peers.settings import Interpretation, Settings

# findings that the account of the trainer's formulas already covers
REPORTED_BY_PEER = {"peer_variant", "peer_prediction_type", "product_on_network", "double_counting", "damped_twice"}


@dataclass(frozen=True, eq=False)
class Effort:
    """Where a recipe's effort goes: shares of weight, loss and gradient energy, by name.

    Attributes:
        zones: share of the training by zone of noise, cleanest first.
        fifths: the shares by fifths of the timesteps, cleanest first.
        bands: the shares by SNR band.
        mean_weight: mean weight under the density.
        effective_sample_size: of the weights, as a fraction of the batch.
        floor: largest loss that the perturbation leaves at any timestep.
        untrained: timesteps that are never drawn or have weight 0, as ranges.
    """

    zones: tuple[Zone, ...]
    fifths: Mapping[str, list[float]]
    bands: Mapping[str, dict[str, float]]
    mean_weight: float
    effective_sample_size: float
    floor: float
    untrained: str


@dataclass(frozen=True, eq=False)
class Explanation:
    """Explanation of a source.

    Attributes:
        verdict: the point, and what to do.
        as_is, as_meant, plain: efforts of what is computed, of what was probably meant, and of plain training.
        later: the starting step and the effort of each later stage.
    """

    interpretation: Interpretation
    verdict: Verdict
    findings: tuple[Finding, ...]
    as_is: Effort | None
    as_meant: Effort | None
    plain: Effort | None
    profile: str
    later: tuple[tuple[int, Effort | None], ...] = ()

    @property
    def settings(self) -> Settings:
        """The settings of the source."""
        return self.interpretation.settings


def explain(source: Path | str) -> Explanation:
    """Explain a file, a run folder, or a recipe on one line (UserError if there is nothing to explain)."""
    if isinstance(source, Path) or is_source(source):
        return explain_settings(read_settings(Path(source)))
    named = read_line(source)
    settings = Settings(named.label, "a recipe", "snrlab", {}, recipe=named.recipe, assumption=named.assumption)
    return explain_settings(settings)


def explain_settings(settings: Settings) -> Explanation:
    """Explain settings that have been read already."""
    interpretation = interpret(settings)
    profile = shipped_profile()
    recipe_findings = findings(interpretation.as_is)
    repeated = REPORTED_BY_PEER if settings.trainer != "snrlab" else set()
    # the effective sample size stands with the effort
    recipe_findings = [f for f in recipe_findings if (f.code, f.grade) != ("effective_sample_size", "info")]
    all_findings = [*interpretation.findings, *(f for f in recipe_findings if f.code not in repeated)]
    ordered = tuple(sorted(all_findings, key=lambda f: GRADES.index(f.grade)))
    (_, first), *stages = interpretation.as_is.by_stage()
    later = tuple((start, _effort(stage.tables(), profile)) for start, stage in stages)
    tables = first.tables()
    return Explanation(
        interpretation,
        verdict(first, ordered, [change.sentence for change in interpretation.changes]),
        ordered,
        _effort(tables, profile),
        _effort(interpretation.as_meant.tables(), profile),
        _effort(tables.plain, profile),
        profile.description,
        later,
    )


def _effort(tables: Tables, profile: Profile) -> Effort | None:
    """Effort of a recipe, or None if it has no finite weights."""
    if not has_shares(tables):
        return None
    by_kind = shares(tables, profile)
    return Effort(
        zones=zones(tables.snr, tables.weight_share()),
        fifths={name: shares_by_fifth(share) for name, share in by_kind.items()},
        bands={name: shares_by_band(share, tables.snr) for name, share in by_kind.items()},
        mean_weight=tables.mean_weight,
        effective_sample_size=tables.effective_sample_size,
        floor=float(tables.ip_floor.max()),
        untrained=_untrained(tables),
    )


def _untrained(tables: Tables) -> str:
    timesteps = np.flatnonzero(tables.rarely_drawn | (tables.weight == 0))
    return timestep_ranges(timesteps) if len(timesteps) else ""


def explanation_as_data(explanation: Explanation) -> dict[str, Any]:
    """The explanation as plain data."""
    interpretation = explanation.interpretation

    def effort(value: Effort | None) -> dict[str, Any] | None:
        return None if value is None else asdict(value)

    return {
        "source": explanation.settings.source,
        "kind": explanation.settings.kind,
        "program": interpretation.version,
        "verdict": explanation.verdict.as_data(),
        "assumption": explanation.settings.assumption,
        "asked": {k: v for k, v in explanation.settings.options.items() if _is_plain_data(v) and k not in SECRETS},
        "does": list(interpretation.effects),
        "recipe_as_is": interpretation.as_is.as_dict(),
        "recipe_as_meant": interpretation.as_meant.as_dict(),
        "changes": [change.text for change in interpretation.changes],
        "effort_as_is": effort(explanation.as_is),
        "effort_as_meant": effort(explanation.as_meant),
        "effort_plain": effort(explanation.plain),
        "effort_later": {str(start): effort(stage) for start, stage in explanation.later},
        "profile": explanation.profile,
        "bands": list(BANDS),
        "findings": [
            {"code": f.code, "grade": f.grade, "message": f.message, "action": f.action, "numbers": dict(f.numbers)}
            for f in explanation.findings
        ],
    }


def _is_plain_data(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool | list | dict)
