"""Run folder: the paths of a run's files, and which folder a new or resumed run may use.

run.toml  sources.json  steps.jsonl  validation.jsonl  history.jsonl  sessions.jsonl  samples/  checkpoints/
<name>.safetensors or <name>/  report.html
"""

from __future__ import annotations

import os
import re
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

from snrlab.config import RunConfig, dump, parse_run
from snrlab.config.wrong_file import shell_quoted
from snrlab.core.errors import UserError
from snrlab.files.writing import TEMPORARY_SUFFIX, write_atomically
from snrlab.runs.lock import HOLDER, LOCK, holder, is_locked


@dataclass(frozen=True)
class RunFolder:
    """Paths of the files of one run."""

    path: Path

    @property
    def config_file(self) -> Path:
        """The resolved configuration."""
        return self.path / "run.toml"

    @property
    def sources_file(self) -> Path:
        """Content hashes of the model and images that the run trains on."""
        return self.path / "sources.json"

    @property
    def history_file(self) -> Path:
        """Changes to the run file since the start, and the run this one was forked from; missing if there are none."""
        return self.path / "history.jsonl"

    @property
    def steps_file(self) -> Path:
        """Step log: one JSON object per optimizer step."""
        return self.path / "steps.jsonl"

    @property
    def validation_file(self) -> Path:
        """Validation log: one JSON object per validation."""
        return self.path / "validation.jsonl"

    @property
    def sessions_file(self) -> Path:
        """When and on which machine the run has trained; missing where it writes no dates."""
        return self.path / "sessions.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints: resumable state."""
        return self.path / "checkpoints"

    @property
    def samples(self) -> Path:
        """Folder of sample pictures and their grids."""
        return self.path / "samples"

    @property
    def logs(self) -> Path:
        """Folder of the trackers' files, if any tracker is used."""
        return self.path / "logs"

    @property
    def comparison_file(self) -> Path:
        """Pictures with and without the LoRA next to the training images, if they were generated."""
        return self.path / "comparison.png"

    @property
    def evaluation_file(self) -> Path:
        """Measures of the pictures in the comparison."""
        return self.path / "evaluation.json"

    @property
    def report(self) -> Path:
        """HTML report of the run."""
        return self.path / "report.html"

    @property
    def card_file(self) -> Path:
        """The model card."""
        return self.path / "README.md"

    @property
    def recipe_plot(self) -> Path:
        """Plot of the recipe, shown in the model card."""
        return self.path / "recipe.png"

    def grid_file(self, step: int) -> Path:
        """Grid of the sample pictures after `step` steps; the single pictures are in a folder of the same stem."""
        return self.samples / f"step-{step:08d}.png"

    def grids(self) -> dict[int, Path]:
        """The sample grids that exist, by step, in order."""
        return {int(file.stem.removeprefix("step-")): file for file in sorted(self.samples.glob("step-*.png"))}

    def sample_images(self) -> dict[int, list[Path]]:
        """The single pictures of each grid that exists, in the order of the prompts, by step, in order."""
        return {step: sorted(grid.with_suffix("").glob("*.png")) for step, grid in self.grids().items()}

    def last_sample_images(self) -> list[Path]:
        """The single pictures of the last grid, in the order of the prompts."""
        last = max(self.samples.glob("step-*/"), default=None)
        return sorted(last.glob("*.png")) if last is not None else []

    def intermediate_result(self, config: RunConfig, step: int) -> Path:
        """Path of the result saved after `step` steps, while the run trains."""
        final = self.result(config)
        return final.with_name(f"{config.name}-step{step:08d}{final.name.removeprefix(config.name)}")

    def intermediate_steps(self, config: RunConfig) -> list[int]:
        """Steps of the intermediate results that exist, in order."""
        ending = self.result(config).name.removeprefix(config.name)
        files = self.path.glob(f"{config.name}-step{'[0-9]' * 8}{ending}")
        return sorted(int(file.name.removesuffix(ending)[-8:]) for file in files)

    def result(self, config: RunConfig) -> Path:
        """Path of the finished LoRA or model: a file or a folder."""
        return self.path / (f"{config.name}.safetensors" if config.single_file else config.name)

    @property
    def reserved_names(self) -> frozenset[str]:
        """File names that a run uses itself, so that no result may have them."""
        records = (self.config_file, self.sources_file, self.history_file, self.sessions_file)
        logs = (self.steps_file, self.validation_file)
        results = (self.comparison_file, self.evaluation_file, self.report, self.card_file, self.recipe_plot)
        folders = (self.checkpoints, self.samples, self.logs)
        return frozenset(file.name for file in (*records, *logs, *results, *folders))

    @property
    def started(self) -> bool:
        """Whether a run was started in this folder."""
        return self.config_file.is_file()

    def read_config(self) -> RunConfig:
        """The resolved configuration of the run in this folder.

        Raises:
            UserError: run.toml cannot be read, or is not a run file.
        """
        try:
            return parse_run(tomllib.loads(self.config_file.read_text(encoding="utf-8")), source=str(self.config_file))
        except (OSError, ValueError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{self.config_file} cannot be read ({error}).", code="unreadable-file") from None

    @property
    def finished(self) -> bool:
        """Whether the run in this folder has written its result."""
        return self.started and self.result(self.read_config()).exists()


def resume_line(folder: RunFolder) -> str:
    """What to type to go on with a run."""
    return f"snrlab resume {shell_quoted(folder.path)}"


def choose_folder(out: Path, config: RunConfig, *, resume: bool) -> tuple[RunFolder, RunConfig]:
    """The folder for a run, and its config with that folder's name.

    A finished run is never overwritten: the new one becomes `name-2`, `name-3`, ... With `resume` the newest folder of
    that name is continued.

    Raises:
        UserError: the folder holds an unfinished run and `resume` is not given, it is used by something else, or it
            cannot be written.
    """
    refuse_unwritable(out)
    existing = [folder for folder in _numbered(out, config.name) if folder.path.exists()]
    if resume and existing:
        last = existing[-1]
        _refuse_foreign(last)
        return last, config.model_copy(update={"name": last.path.name})
    for folder in existing:
        if is_locked(folder.path):
            raise UserError(
                f"{folder.path} is in use: a run in it is still going on{holder(folder.path)}. Choose another name.",
                code="run-in-use",
            )
        _refuse_foreign(folder)
        if folder.started and not folder.finished:
            raise UserError(
                f"{folder.path} holds an unfinished run. To go on with it:\n  {resume_line(folder)}\n"
                "To start anew, choose another name: --set name=NAME",
                code="run-unfinished",
            )
    number = len(existing) + 1
    name = config.name if number == 1 else f"{config.name}-{number}"
    return RunFolder(out / name), config.model_copy(update={"name": name})


def latest_run(out: Path, name: str) -> RunFolder:
    """The newest run of that name.

    Raises:
        UserError: there is none.
    """
    started = [folder for folder in _numbered(out, name) if folder.started]
    if not started:
        raise UserError(f"--fork: there is no run {out / name} to start from.", code="not-a-run")
    return started[-1]


def write_config(folder: RunFolder, config: RunConfig, comment: str = "") -> None:
    """Write a run folder's run.toml atomically; its presence marks the run as started, so it is written last.

    Args:
        folder: an existing folder.
        config: the resolved configuration.
        comment: first line of the file.

    Raises:
        WriteError: it cannot be written.
    """
    write_atomically(folder.config_file, (f"# {comment}\n" * bool(comment) + dump(config)).encode())


def make_folder(folder: RunFolder) -> None:
    """Create a run folder.

    Raises:
        UserError: it cannot be created.
    """
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder.path} cannot be written ({error.strerror}). Choose another --out.", code="unwritable-file"
        ) from None


def remove_unfinished(folder: RunFolder) -> None:
    """Remove files that a killed process left half-written."""
    for leftover in folder.path.rglob(f"*{TEMPORARY_SUFFIX}"):
        if folder.logs in leftover.parents:  # a tracker's files, not ours
            continue
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def refuse_unwritable(out: Path) -> None:
    """Check that a run folder can be created in `out`, before minutes of loading.

    Raises:
        UserError: it cannot.
    """
    nearest = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(
            f"{out} cannot be written: {nearest} is not a folder you may write to. Choose another --out.",
            code="unwritable-file",
        )


def refuse_name(folder: RunFolder, config: RunConfig) -> None:
    """Check that a run's result would not overwrite one of its own files, or be removed as unfinished.

    Raises:
        UserError: it would.
    """
    if folder.result(config).name in folder.reserved_names or config.name.endswith(TEMPORARY_SUFFIX):
        raise UserError(
            f"name is {config.name}, which is the name of one of the run's own files; choose another.",
            code="already-exists",
        )


def _refuse_foreign(folder: RunFolder) -> None:
    """Raise UserError for an existing folder that holds something other than a run."""
    if not folder.path.is_dir() or (not folder.started and any(map(_is_foreign, folder.path.iterdir()))):
        raise UserError(f"{folder.path} exists and is not a run; choose another name or --out.", code="already-exists")


def _is_foreign(file: Path) -> bool:
    """Whether a file is none of those that a run writes before its run.toml."""
    is_early_file = file.name in (LOCK, HOLDER, RunFolder(file.parent).sources_file.name) or re.fullmatch(
        r"bug-\d+\.txt", file.name
    )
    return not is_early_file and not file.name.endswith(TEMPORARY_SUFFIX)


def _numbered(out: Path, name: str) -> list[RunFolder]:
    """Folders `name`, `name-2`, ... of `out` up to the first that does not exist, which is the last of the list."""
    folders = [RunFolder(out / name)]
    while folders[-1].path.exists():
        folders.append(RunFolder(out / f"{name}-{len(folders) + 1}"))
    return folders
