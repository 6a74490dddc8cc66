"""The answer of a study, computed from its results alone: verdicts, floor, checks of metrics and of the pairing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from snrlab.core.arrays import Array
from snrlab.study.metrics import METRICS
from snrlab.study.paired import ALPHA, PairedResult, VerdictWord, holm, paired_result, verdict_word
from snrlab.study.results import at_half, final
from snrlab.study.study_file import TWIN, StudyConfig
from snrlab.study.study_folder import CellResult


@dataclass(frozen=True)
class Contrast:
    """An arm against another one in one metric.

    Attributes:
        arm, against: the two arms.
        metric: name of the metric.
        seeds: the training seeds that both arms have finished.
        effects: the change of each seed, in the order of `seeds`, as logarithms of ratios.
        result: what they say; None with fewer than two seeds.
        adjusted_p, word: of a primary contrast: Holm's p and the verdict; None for an exploratory one.
    """

    arm: str
    against: str
    metric: str
    seeds: tuple[int, ...]
    effects: tuple[float, ...]
    result: PairedResult | None
    adjusted_p: float | None = None
    word: VerdictWord | None = None


@dataclass(frozen=True)
class KnownDifference:
    """Whether a metric sees that the baseline was trained for all its steps instead of half of them."""

    metric: str
    result: PairedResult | None

    @property
    def seen(self) -> bool:
        """Whether it does: the interval lies below 0."""
        return self.result is not None and self.result.high < 0


@dataclass(frozen=True)
class StudyAnswer:
    """All that a report says.

    Attributes:
        looks: how often a verdict was given, this time included; the intervals pay for it.
        alpha: error probability of this look.
        primary, exploratory: contrasts with and without a verdict.
        floor: the twin against the baseline, by metric: what other noise alone changes.
        known: the check of each metric.
        warnings: what is wrong with the pairing.
        missing: cells without a result.
    """

    study: StudyConfig
    looks: int
    alpha: float
    primary: tuple[Contrast, ...]
    exploratory: tuple[Contrast, ...]
    floor: dict[str, Contrast]
    known: dict[str, KnownDifference]
    warnings: tuple[str, ...]
    missing: tuple[tuple[str, int], ...]


def answer(study: StudyConfig, results: Sequence[CellResult], looks: int = 1) -> StudyAnswer:
    """Answer a study from its results.

    Args:
        study: the study.
        results: lines of results.jsonl.
        looks: how often a verdict was given, this time included.
    """
    alpha, by_cell = ALPHA / looks, {(result["arm"], result["seed"]): result for result in results}
    measured = [name for name in METRICS if any(final(result, name) is not None for result in results)]
    stated = [(contrast.arm, str(contrast.against), contrast.metric) for contrast in study.primary]
    primary = [_contrast(study, by_cell, *names, alpha) for names in stated]
    others = [
        _contrast(study, by_cell, arm, study.baseline_arm, metric, alpha)
        for metric in measured
        for arm in study.arms
        if arm != study.baseline_arm and (arm, study.baseline_arm, metric) not in stated
    ]
    wanted = [(arm, seed) for seed in study.seed_list for arm in (*study.arms, TWIN)]
    return StudyAnswer(
        study,
        looks,
        alpha,
        _with_verdicts(primary, study.margin, alpha),
        tuple(others),
        {metric: _contrast(study, by_cell, TWIN, study.baseline_arm, metric, ALPHA) for metric in measured},
        {metric: _known_difference(study, by_cell, metric) for metric in measured},
        tuple(_pairing_warnings(study, by_cell)),
        tuple(cell for cell in wanted if cell not in by_cell),
    )


Cells = dict[tuple[str, int], CellResult]


def _contrast(study: StudyConfig, cells: Cells, arm: str, against: str, metric: str, alpha: float) -> Contrast:
    seeds, effects = [], []
    for seed in study.seed_list:
        values = [final(cells[name, seed], metric) for name in (arm, against) if (name, seed) in cells]
        if len(values) == 2 and values[0] and values[1]:  # 0 has no logarithm
            seeds.append(seed)
            effects.append(float(np.log(values[0] / values[1])))
    return Contrast(arm, against, metric, tuple(seeds), tuple(effects), _result(np.array(effects), alpha))


def _result(effects: Array, alpha: float) -> PairedResult | None:
    return paired_result(effects, alpha) if len(effects) > 1 else None


def _with_verdicts(contrasts: Sequence[Contrast], margin: float, alpha: float) -> tuple[Contrast, ...]:
    """Contrasts with Holm's p, over those that can be answered, and their verdicts."""
    answered = [contrast for contrast in contrasts if contrast.result is not None]
    adjusted = iter(holm([contrast.result.p for contrast in answered if contrast.result is not None]))
    judged = []
    for contrast in contrasts:
        if contrast.result is not None:
            p = next(adjusted)
            contrast = replace(contrast, adjusted_p=p, word=verdict_word(contrast.result, p, margin, alpha))
        judged.append(contrast)
    return tuple(judged)


def _known_difference(study: StudyConfig, cells: Cells, metric: str) -> KnownDifference:
    effects = []
    for seed in study.seed_list:
        result = cells.get((study.baseline_arm, seed))
        if result is not None and (half := at_half(result, metric)) and (end := final(result, metric)):
            effects.append(float(np.log(end / half)))
    return KnownDifference(metric, _result(np.array(effects), ALPHA))


def _pairing_warnings(study: StudyConfig, cells: Cells) -> list[str]:
    """What the logs of the cells say against the pairing."""
    warnings = []
    for seed in study.seed_list:
        baseline = cells.get((study.baseline_arm, seed))
        if baseline is None:
            continue
        for arm in (*study.arms, TWIN):
            other = cells.get((arm, seed))
            if other is None or other is baseline:
                continue
            if other["images"] != baseline["images"]:
                warnings.append(f"seed {seed}: {arm} read other pictures or captions than {baseline['arm']}.")
            if other["measurements"][:1] != baseline["measurements"][:1]:
                warnings.append(f"seed {seed}: before training, {arm} measured otherwise than {baseline['arm']}.")
            if arm == TWIN and other["timesteps"] == baseline["timesteps"]:
                warnings.append(f"seed {seed}: the twin trained on the timesteps of the baseline, so it is no twin.")
    return warnings
