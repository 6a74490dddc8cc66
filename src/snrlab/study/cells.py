"""Cells of a study: every arm with every seed, each an ordinary run."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from snrlab.config import RunConfig, parse_run
from snrlab.core.errors import UserError
from snrlab.lab.recipe_text import recipe_section
from snrlab.runs.changes import changes
from snrlab.study.study_file import TWIN, StudyConfig

MEASUREMENTS = 10  # of a run on its held-out images, besides the first
_TWIN_SEED = 2**32  # added to the seed: of the twin's steps, which no study uses as a seed
_OF_THE_STUDY = ("name", "seed", "step_seed", "output.dates", "output.report", "output.model_card")


@dataclass(frozen=True, eq=False)
class Cell:
    """A run of the study."""

    arm: str
    seed: int
    config: RunConfig

    @property
    def name(self) -> str:
        """Name of its run folder."""
        return self.config.name


def plan_cells(study: StudyConfig, base: dict[str, Any]) -> list[Cell]:
    """The cells in the order in which they are trained: one seed after the other, the baseline and its twin first.

    Args:
        study: the study.
        base: content of its base run file.

    Raises:
        UserError: an arm is no valid run, changes nothing, changes what the study decides, or is equal to another one.
    """
    arms = {arm: _arm_data(base, arm, fields) for arm, fields in study.arms.items()}
    _refuse_equal_arms(study, {arm: _config(data, arm, study.seed_list[0]) for arm, data in arms.items()})
    ordered = {study.baseline_arm: arms[study.baseline_arm], TWIN: arms[study.baseline_arm], **arms}
    cells = [
        Cell(arm, seed, _config(data, arm, seed, twin=arm == TWIN))
        for seed in study.seed_list
        for arm, data in ordered.items()
    ]
    _refuse_unmeasured(cells[0].config)
    return cells


def _arm_data(base: dict[str, Any], arm: str, change: dict[str, Any] | str) -> dict[str, Any]:
    data = copy.deepcopy(base)
    if isinstance(change, str):
        stated = recipe_section(change).model_dump(exclude_unset=True)
        data["recipe"] = {name: value for name, value in stated.items() if value is not None}
        return data
    for field, value in _leaves(change):
        if field in _OF_THE_STUDY:
            raise UserError(
                f"arms.{arm}: {field} is decided by the study for every cell; leave it out.", code="conflicting-options"
            )
        *sections, last = field.split(".")
        table = data
        for section in sections:
            table = table.setdefault(section, {})
        table[last] = value
    return data


def _leaves(tables: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of an arm by their full name; a strategy's table is one value."""
    for key, value in tables.items():
        if isinstance(value, dict) and "name" not in value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _config(data: dict[str, Any], arm: str, seed: int, *, twin: bool = False) -> RunConfig:
    decided = {
        **data,
        "name": f"{arm}--seed-{seed}",
        "seed": seed,
        **({"step_seed": _TWIN_SEED + seed} if twin else {}),
    }
    decided["output"] = {**data.get("output", {}), "dates": False, "report": False, "model_card": False}
    steps, validation = data.get("train", {}).get("steps"), dict(data.get("validation", {}))
    measures = validation.get("images") or validation.get("folder")
    if isinstance(steps, int) and measures and not {"every", "every_epochs"} & validation.keys():
        decided["validation"] = {**validation, "every": max(1, steps // MEASUREMENTS)}
    return parse_run(decided, source=f"arms.{arm}")


def _refuse_equal_arms(study: StudyConfig, configs: dict[str, RunConfig]) -> None:
    for one, other in combinations(configs, 2):
        if not changes(configs[one], configs[other]):
            raise UserError(
                f"arms.{other} is the same run as arms.{one}. The study adds by itself an arm that repeats the "
                f"baseline ({study.baseline_arm}) with other noise.",
                code="nothing-to-do",
            )


def _refuse_unmeasured(config: RunConfig) -> None:
    if not config.validation.images and config.validation.folder is None:
        raise UserError(
            "base: nothing is measured on images outside of the training set. Set validation.images, such as 8, or "
            "validation.folder.",
            code="nothing-to-do",
        )
