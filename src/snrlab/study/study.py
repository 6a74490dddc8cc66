"""A study from its file to its report: cells that are done are kept, the others are trained, then all is answered."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import stdev

import tomlkit

from snrlab.config import dump
from snrlab.core.errors import UserError
from snrlab.files.text import read_toml
from snrlab.files.writing import write_atomically
from snrlab.study.answer import StudyAnswer, answer
from snrlab.study.cells import Cell, plan_cells
from snrlab.study.local import Task, run_tasks
from snrlab.study.paired import as_percent, detectable_effect
from snrlab.study.report import write_reports
from snrlab.study.results import read_result
from snrlab.study.study_file import StudyConfig, parse_study, read_study
from snrlab.study.study_folder import CellResult, StudyFolder

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class OpenedStudy:
    """A study in its folder.

    Attributes:
        results: of the cells that are finished, by arm and seed.
    """

    config: StudyConfig
    folder: StudyFolder
    cells: tuple[Cell, ...]
    results: dict[tuple[str, int], CellResult]

    @property
    def to_train(self) -> list[Cell]:
        """The cells without a result."""
        return [cell for cell in self.cells if (cell.arm, cell.seed) not in self.results]


def open_study(source: Path, out: Path, add_seeds: int = 0) -> OpenedStudy:
    """Open a study, new or started.

    Args:
        source: study file, or the folder of a study.
        out: folder in which the folders of new studies are made.
        add_seeds: seeds to add to those that the study has.

    Raises:
        UserError: the study or one of its arms is not valid, or a started study has changed.
    """
    file = StudyFolder(source).study_file if source.is_dir() else source
    config = read_study(file)
    at_home = file.name == "study.toml" and file.parent.name == config.name
    folder = StudyFolder(file.parent if source.is_dir() or at_home else out / config.name)
    base = folder.base_file if folder.base_file.exists() else file.parent / config.base
    if folder.study_file.exists() and folder.study_file.resolve() != file.resolve():
        _refuse_changes(read_study(folder.study_file), config, folder)
        config = read_study(folder.study_file)
    if add_seeds:
        config = _with_more_seeds(config, add_seeds)
    cells = tuple(plan_cells(config, read_toml(base)))
    kept = {(line["arm"], line["seed"]): line for line in folder.read_results()}
    results = {(c.arm, c.seed): kept[c.arm, c.seed] for c in cells if (c.arm, c.seed) in kept}
    return OpenedStudy(config, folder, cells, results)


def start(study: OpenedStudy, source: Path) -> None:
    """Make the folder of a study, with its study file and its base run file."""
    folder = study.folder
    folder.cells.mkdir(parents=True, exist_ok=True)
    file = StudyFolder(source).study_file if source.is_dir() else source
    if not folder.base_file.exists():
        write_atomically(folder.base_file, (file.parent / study.config.base).read_bytes())
    if not folder.study_file.exists():
        write_atomically(folder.study_file, file.read_bytes())
    if read_study(folder.study_file).seed_list != study.config.seed_list:
        document = tomlkit.parse(folder.study_file.read_text(encoding="utf-8"))  # keeps the order of arms
        document["seeds"] = study.config.seed_list
        write_atomically(folder.study_file, tomlkit.dumps(document).encode())


def train_cells(study: OpenedStudy, *, workers: int, cards: Sequence[str] = ()) -> list[str]:
    """Train what is missing, and keep the result of each cell as it comes; the names of those that failed."""
    folder, failed = study.folder, []
    by_name = {cell.name: cell for cell in study.cells}
    for cell in study.to_train:  # finished by an earlier process that could not note it any more
        if folder.run(cell.name).finished:
            _keep(study, cell)
    waiting = study.to_train
    for cell in waiting:
        write_atomically(folder.run_file(cell.name), dump(cell.config).encode())

    def ended(task: Task, succeeded: bool) -> None:
        if succeeded:
            _keep(study, by_name[task.name])
            logger.info(f"{len(study.results)} of {len(study.cells)} cells: {task.name}")
        else:
            failed.append(task.name)
            logger.warning(f"{task.name} failed twice: {_last_line(task.log)} More is in {task.log}.")

    run_tasks([_task(folder, cell) for cell in waiting], workers=workers, ended=ended, cards=cards)
    return failed


def conclude(study: OpenedStudy) -> StudyAnswer:
    """Answer the study as far as it goes, and write its reports; a complete set of seeds counts as a look."""
    looks = study.folder.read_looks()
    complete = len(study.config.seed_list)
    if not study.to_train and complete not in looks:
        looks = [*looks, complete]
        study.folder.write_looks(looks)
    result = answer(study.config, list(study.results.values()), looks=max(1, len(looks)))
    write_reports(study.folder, result)
    return result


def detectable(study: OpenedStudy) -> dict[str, float]:
    """The smallest effect in per cent that the study's seeds can see, by metric, from the cells that are finished."""
    answered = answer(study.config, list(study.results.values()))
    effects = {}
    for contrast in (*answered.primary, *answered.floor.values()):
        if contrast.result is not None and contrast.metric not in effects:
            deviation = stdev(contrast.effects)
            effects[contrast.metric] = as_percent(detectable_effect(deviation, len(study.config.seed_list)))
    return effects


def seconds_a_cell(study: OpenedStudy) -> float | None:
    """Mean training time of the cells that are finished, from the times of their files; None without any."""
    spans = []
    for cell in study.cells:
        run = study.folder.run(cell.name)
        if (cell.arm, cell.seed) in study.results and run.validation_file.exists():
            spans.append(run.validation_file.stat().st_mtime - run.config_file.stat().st_mtime)
    return sum(spans) / len(spans) if spans else None


def _keep(study: OpenedStudy, cell: Cell) -> None:
    """Note a cell's result, in the order of the plan, so that the file does not depend on which was done first."""
    study.results[cell.arm, cell.seed] = read_result(cell, study.folder.run(cell.name))
    ordered = [study.results[c.arm, c.seed] for c in study.cells if (c.arm, c.seed) in study.results]
    study.folder.write_results(ordered)


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing.")


def _task(folder: StudyFolder, cell: Cell) -> Task:
    command = ("train", str(folder.run_file(cell.name)), "--out", str(folder.cells), "--resume")
    return Task(cell.name, command, folder.log_file(cell.name))


def _with_more_seeds(config: StudyConfig, count: int) -> StudyConfig:
    seeds = config.seed_list
    added = [max(seeds) + 1 + place for place in range(count)]
    return parse_study({**config.model_dump(), "seeds": [*seeds, *added]})


def _refuse_changes(before: StudyConfig, now: StudyConfig, folder: StudyFolder) -> None:
    """Refuse a study file that has changed since the study started (UserError)."""
    for field in StudyConfig.model_fields:
        if field != "base" and field != "seeds" and getattr(before, field) != getattr(now, field):
            raise UserError(
                f"{field} has changed since {folder.path} was started. What was asked beforehand stays as it was: give "
                "the changed study another name. For more seeds: --add-seeds.",
                code="settings-changed",
            )
    if now.seed_list != before.seed_list[: len(now.seed_list)]:
        raise UserError(
            f"seeds have changed since {folder.path} was started. For more seeds: --add-seeds.", code="settings-changed"
        )
