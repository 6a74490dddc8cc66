"""The run folder: where a run's files are, and when a folder may be used.

run.toml  sources.json  steps.jsonl  validation.jsonl  history.jsonl  samples/  checkpoints/
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
from snrlab.core.errors import UserError
from snrlab.files.writing import UNFINISHED, write_atomically
from snrlab.runs.lock import HOLDER, LOCK, holder, is_locked


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run."""

    path: Path

    @property
    def config_file(self) -> Path:
        """The resolved configuration."""
        return self.path / "run.toml"

    @property
    def sources_file(self) -> Path:
        """What it learns from, by content."""
        return self.path / "sources.json"

    @property
    def history_file(self) -> Path:
        """What was changed on the way, and which run this one was forked from; missing where nothing was."""
        return self.path / "history.jsonl"

    @property
    def steps_file(self) -> Path:
        """One JSON object a step."""
        return self.path / "steps.jsonl"

    @property
    def validation_file(self) -> Path:
        """One JSON object a validation."""
        return self.path / "validation.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Resumable state."""
        return self.path / "checkpoints"

    @property
    def samples(self) -> Path:
        """Sample grids."""
        return self.path / "samples"

    @property
    def logs(self) -> Path:
        """What trackers keep of the run, where it has any."""
        return self.path / "logs"

    @property
    def comparison_file(self) -> Path:
        """Pictures with and without the LoRA beside the true ones, where they were drawn."""
        return self.path / "comparison.png"

    @property
    def evaluation_file(self) -> Path:
        """What was measured in them."""
        return self.path / "evaluation.json"

    @property
    def report(self) -> Path:
        """The report."""
        return self.path / "report.html"

    @property
    def card_file(self) -> Path:
        """The model card."""
        return self.path / "README.md"

    @property
    def recipe_plot(self) -> Path:
        """The recipe's graph, which the card shows."""
        return self.path / "recipe.png"

    def grid_file(self, step: int) -> Path:
        """The grid of sample images after `step` steps; the single images are in a folder of its name."""
        return self.samples / f"step-{step:08d}.png"

    def grids(self) -> dict[int, Path]:
        """The grids of sample images that are there, by step, in order."""
        return {int(file.stem.removeprefix("step-")): file for file in sorted(self.samples.glob("step-*.png"))}

    def last_sample_images(self) -> list[Path]:
        """The single images of the last grid, in the order of the prompts."""
        last = max(self.samples.glob("step-*/"), default=None)
        return sorted(last.glob("*.png")) if last is not None else []

    def on_the_way(self, config: RunConfig, step: int) -> Path:
        """The result saved after `step` steps."""
        final = self.result(config)
        return final.with_name(f"{config.name}-step{step:08d}{final.name.removeprefix(config.name)}")

    def steps_on_the_way(self, config: RunConfig) -> list[int]:
        """Steps whose results are there, in order."""
        ending = self.result(config).name.removeprefix(config.name)
        found = self.path.glob(f"{config.name}-step{'[0-9]' * 8}{ending}")
        return sorted(int(file.name.removesuffix(ending)[-8:]) for file in found)

    def result(self, config: RunConfig) -> Path:
        """The finished LoRA or model: a file, or a folder."""
        return self.path / (f"{config.name}.safetensors" if config.single_file else config.name)

    @property
    def own(self) -> frozenset[str]:
        """Names of all that a run keeps here besides its results."""
        logs = (self.config_file, self.sources_file, self.history_file, self.steps_file, self.validation_file)
        results = (self.comparison_file, self.evaluation_file, self.report, self.card_file, self.recipe_plot)
        folders = (self.checkpoints, self.samples, self.logs)
        return frozenset(file.name for file in (*logs, *results, *folders))

    @property
    def started(self) -> bool:
        """Whether a run has been here."""
        return self.config_file.is_file()

    def read_config(self) -> RunConfig:
        """The configuration of the run that is here."""
        try:
            return parse_run(tomllib.loads(self.config_file.read_text(encoding="utf-8")), source=str(self.config_file))
        except (OSError, ValueError) as reason:
            if isinstance(reason, UserError):
                raise
            raise UserError(f"{self.config_file} cannot be read ({reason}).", code="unreadable-file") from None

    @property
    def finished(self) -> bool:
        """Whether the run that is here has written its result."""
        return self.started and self.result(self.read_config()).exists()


def choose_folder(out: Path, config: RunConfig, *, resume: bool) -> tuple[RunFolder, RunConfig]:
    """The folder a run goes into, and its config with the name of that folder.

    A finished run is never overwritten: the new one becomes `name-2`, `name-3`, ... With `resume`
    the newest folder of that name is gone on with.

    Raises:
        UserError: an unfinished run is there and `resume` is not given, or the folder is in use
            for something else, or nothing can be written there.
    """
    refuse_unwritable(out)
    taken = [folder for folder in _numbered(out, config.name) if folder.path.exists()]
    if resume and taken:
        last = taken[-1]
        _refuse_foreign(last)
        return last, config.model_copy(update={"name": last.path.name})
    for folder in taken:
        if is_locked(folder.path):
            raise UserError(
                f"{folder.path} is in use: a run in it goes on{holder(folder.path)}. Choose another name.",
                code="run-in-use",
            )
        _refuse_foreign(folder)
        if folder.started and not folder.finished:
            raise UserError(
                f"{folder.path} holds an unfinished run: --resume goes on with it; or choose another name.",
                code="run-unfinished",
            )
    number = len(taken) + 1
    name = config.name if number == 1 else f"{config.name}-{number}"
    return RunFolder(out / name), config.model_copy(update={"name": name})


def latest_run(out: Path, name: str) -> RunFolder:
    """The newest run of that name (UserError where there is none)."""
    started = [folder for folder in _numbered(out, name) if folder.started]
    if not started:
        raise UserError(f"--fork: there is no run {out / name} to start from.", code="not-a-run")
    return started[-1]


def write_config(folder: RunFolder, config: RunConfig, remark: str = "") -> None:
    """Write a folder's run.toml, whole or not at all; it makes the folder a run's, so it comes last.

    Args:
        folder: the folder, which is there.
        config: of the run.
        remark: a line to begin the file with.

    Raises:
        WriteError: it cannot be written.
    """
    write_atomically(folder.config_file, (f"# {remark}\n" * bool(remark) + dump(config)).encode())


def make_folder(folder: RunFolder) -> None:
    """Make a run's folder (UserError where it cannot be made)."""
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as reason:
        raise UserError(
            f"{folder.path} cannot be written ({reason.strerror}). Choose another --out.", code="unwritable-file"
        ) from None


def remove_unfinished(folder: RunFolder) -> None:
    """Remove what a killed process has left half-written."""
    for left in folder.path.rglob(f"*{UNFINISHED}"):
        if folder.logs in left.parents:  # of another program
            continue
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def refuse_unwritable(out: Path) -> None:
    """Find out before minutes of loading, not after."""
    nearest = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(
            f"{out} cannot be written: {nearest} is not a folder you may write to. Choose another --out.",
            code="unwritable-file",
        )


def refuse_name(folder: RunFolder, config: RunConfig) -> None:
    """Refuse a name whose result would lie where the run keeps something else, or among what is swept (UserError)."""
    if folder.result(config).name in folder.own or config.name.endswith(UNFINISHED):
        raise UserError(
            f"name is {config.name}, which is the name of something that a run keeps; choose another.",
            code="already-exists",
        )


def _refuse_foreign(folder: RunFolder) -> None:
    """Refuse a folder that holds something else than a run (UserError)."""
    if not folder.path.is_dir() or (not folder.started and any(map(_is_foreign, folder.path.iterdir()))):
        raise UserError(f"{folder.path} exists and is not a run; choose another name or --out.", code="already-exists")


def _is_foreign(file: Path) -> bool:
    """Whether a file is none of those that a run has before its run.toml."""
    before = file.name in (LOCK, HOLDER, RunFolder(file.parent).sources_file.name) or re.fullmatch(
        r"bug-\d+\.txt", file.name
    )
    return not before and not file.name.endswith(UNFINISHED)


def _numbered(out: Path, name: str) -> list[RunFolder]:
    folders = [RunFolder(out / name)]
    while folders[-1].path.exists():
        folders.append(RunFolder(out / f"{name}-{len(folders) + 1}"))
    return folders
