"""Arms of a comparison: runs that differ only in their seed are one recipe, trained several times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from snrlab.lab.run_comparison.run_record import RunRecord
from snrlab.runs.changes import changes

# fields that leave the trained weights and the held-out images as they are
_WITHOUT_EFFECT = (
    "seed", "sample.", "output.", "log.", "validation.every", "train.checkpoint_every", "data.cache",
    "data.vae_batch_size", "model.probe",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Arm:
    """Runs with the same settings but for the seed, in the order given; no seed occurs twice."""

    label: str
    runs: tuple[RunRecord, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of its runs."""
        return tuple(run.config.seed for run in self.runs)

    def run_of(self, seed: int) -> RunRecord:
        """Its run with this seed."""
        return self.runs[self.seeds.index(seed)]


def group_by_settings(records: Sequence[RunRecord]) -> list[Arm]:
    """The arms of a comparison, at least two.

    A run with the seed of another one of the same settings is an arm of its own; so is every run where all of them
    have the same settings.
    """
    arms: list[Arm] = []
    for record in records:
        place = next((i for i, arm in enumerate(arms) if _belongs(record, arm)), None)
        if place is None:
            arms.append(Arm(record.label, (record,)))
        else:
            arms[place] = replace(arms[place], runs=(*arms[place].runs, record))
    return arms if len(arms) > 1 else [Arm(record.label, (record,)) for record in records]


def same_settings(one: RunRecord, other: RunRecord) -> bool:
    """Whether two runs train the same way but for their seed."""
    return all(change.field.startswith(_WITHOUT_EFFECT) for change in changes(one.config, other.config))


def _belongs(record: RunRecord, arm: Arm) -> bool:
    return record.config.seed not in arm.seeds and same_settings(record, arm.runs[0])
