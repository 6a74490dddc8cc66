"""Which of several runs was better: held-out losses, settings that differ, and a verdict, as one value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from snrlab.lab.run_comparison.arms import Arm, group_by_settings, same_settings
from snrlab.lab.run_comparison.differences import PairComparison, compare_arms
from snrlab.lab.run_comparison.run_record import RunRecord, read_run_records
from snrlab.lab.run_comparison.settings_diff import SettingDifference, setting_differences
from snrlab.lab.run_comparison.verdict import RunVerdict, judge

WANTED_SEEDS = 3  # of each arm; with two, the interval over seeds is so wide that it hardly ever leaves out 0


@dataclass(frozen=True)
class ArmSummary:
    """An arm for readers and programs.

    Attributes:
        label: its name in the comparison.
        folders: run folders, in the order of `seeds`.
        steps: optimizer steps that its first run trained, and was to train.
    """

    label: str
    folders: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: tuple[int, int]


@dataclass(frozen=True)
class RunComparison:
    """Runs compared.

    Attributes:
        arms: one for each recipe, with its runs.
        pairs: every two arms, those with the first arm first.
        verdict: the answer.
        settings: the fields in which the arms differ.
        only_seed: whether the arms differ in nothing but their seed.
        to_train: commands that train the seeds that are missing for an answer; empty where there are enough.
        notes: what a reader has to know besides.
    """

    arms: tuple[ArmSummary, ...]
    pairs: tuple[PairComparison, ...]
    verdict: RunVerdict
    settings: tuple[SettingDifference, ...]
    only_seed: bool
    to_train: tuple[str, ...]
    notes: tuple[str, ...]

    def as_data(self) -> dict[str, Any]:
        """The comparison as plain data."""
        return asdict(self)


def compare_runs(texts: Sequence[str]) -> RunComparison:
    """Compare run folders, each with or without `Label = ` before it.

    Raises:
        UserError: fewer than two, a label or a folder given twice, or a folder that cannot be read.
    """
    return compare_run_records(read_run_records(texts))


def compare_run_records(records: Sequence[RunRecord]) -> RunComparison:
    """Compare runs that have been read, at least two."""
    arms = group_by_settings(records)
    couples = list(combinations(arms, 2))
    pairs = tuple(compare_arms(one, other, len(couples)) for one, other in couples)
    only_seed = all(same_settings(one.runs[0], other.runs[0]) for one, other in couples)
    return RunComparison(
        arms=tuple(
            ArmSummary(
                arm.label,
                tuple(run.path.as_posix() for run in arm.runs),
                arm.seeds,
                (arm.runs[0].status.done, arm.runs[0].config.train.steps),
            )
            for arm in arms
        ),
        pairs=pairs,
        verdict=judge(pairs, only_seed=only_seed),
        settings=setting_differences(arms),
        only_seed=only_seed,
        to_train=() if only_seed else tuple(_to_train(arms)),
        notes=tuple(_notes(records, arms, pairs)),
    )


def _to_train(arms: Sequence[Arm]) -> list[str]:
    """Commands that train each arm with as many seeds as an answer takes, the same ones in every arm."""
    seeds = list(dict.fromkeys(seed for arm in arms for seed in arm.seeds))
    unused = (seed for seed in range(1, 2**31) if seed not in seeds)
    wanted = seeds + [next(unused) for _ in range(WANTED_SEEDS - len(seeds))]
    return [_train_command(arm.runs[0], seed) for seed in wanted for arm in arms if seed not in arm.seeds]


def _train_command(run: RunRecord, seed: int) -> str:
    parent = run.path.parent.as_posix()
    out = "" if parent == "runs" else f' --out "{parent}"' if " " in parent else f" --out {parent}"
    file = (run.path / "run.toml").as_posix()
    return f"snrlab train {chr(34) + file + chr(34) if ' ' in file else file} --set seed={seed}{out}"


def _notes(records: Sequence[RunRecord], arms: Sequence[Arm], pairs: Sequence[PairComparison]) -> list[str]:
    notes = [
        f"{arm.label} stands for {len(arm.runs)} runs of one recipe: {', '.join(run.label for run in arm.runs)}."
        for arm in arms
        if len(arm.runs) > 1
    ]
    for record in records:
        if not record.finished:
            done, steps = record.status.done, record.status.steps
            notes.append(f"{record.label} is not finished: {done} of {steps} steps ({record.status.state}).")
    for compared in pairs:
        if compared.obstacle is None and len(set(compared.steps)) > 1:
            first, second = compared.steps
            notes.append(f"{compared.first} trained {first} steps and {compared.second} trained {second}.")
    return notes
