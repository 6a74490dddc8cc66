"""Run folders as arguments of commands: by path, by run file, or by name in `runs`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from snrlab.core.errors import UserError, nearest

if TYPE_CHECKING:
    from snrlab.runs.folder import RunFolder

RUNS = Path("runs")  # where run folders are created by default
RUNS_COMMAND = "snrlab runs"


def find_run(source: Path) -> RunFolder:
    """The run folder that an argument names: a folder, the run.toml in it, or the name of a run in `runs`.

    Raises:
        UserError: there is no run; the message says what is there instead.
    """
    from snrlab.runs.folder import RunFolder

    for path in (source, source.parent, RUNS / source):
        folder = RunFolder(path)
        if folder.started and path in (source, RUNS / source):
            return folder
        if folder.started and source == folder.config_file:
            return folder
    raise UserError(f"{_missing_run(source)} To see the runs that there are: {RUNS_COMMAND}", code="not-a-run")


def run_folders_in(out: Path) -> list[RunFolder]:
    """The run folders in a folder, or that folder itself if it holds a run; without an order."""
    from snrlab.runs.folder import RunFolder
    from snrlab.runs.lock import HOLDER

    candidates = [out] if RunFolder(out).started else [path for path in out.iterdir() if path.is_dir()]
    folders = [RunFolder(path) for path in candidates]
    return [folder for folder in folders if folder.started or (folder.path / HOLDER).exists()]


def _missing_run(source: Path) -> str:
    if source.is_dir():
        return f"RUN: {source} is not a run folder: it has no run.toml."
    if source.exists():
        return f"RUN: {source} is not a run folder."
    parent = source.parent if source.parent.is_dir() and source.parent != Path() else RUNS
    names = [folder.path.name for folder in run_folders_in(parent)] if parent.is_dir() else []
    guess = nearest(source.name, names)
    return f"RUN: there is no run {source}." + (f" Did you mean {parent / guess}?" if guess else "")
