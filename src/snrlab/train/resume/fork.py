"""Forks: new runs that start from another run's last checkpoint, with the run file as it is now."""

from __future__ import annotations

import json
import logging
import shutil
from itertools import islice
from pathlib import Path

from snrlab.config import RunConfig, parse_run
from snrlab.core.errors import UserError
from snrlab.files.writing import folder_atomically
from snrlab.runs import folder as run_folder
from snrlab.runs.changes import changes, changes_table, remember
from snrlab.runs.folder import RunFolder
from snrlab.runs.logs import read_validation
from snrlab.train.job import Job
from snrlab.train.resume import checkpoint
from snrlab.train.resume.fingerprints import InputFingerprints, fingerprints_text

logger = logging.getLogger(__name__)


def choose_fork(
    out: Path, config: RunConfig, name: str, source: RunFolder | None = None
) -> tuple[RunFolder, RunFolder, RunConfig]:
    """Choose the folders of a fork: (the run to start from, the new folder, the config under the new name).

    Without a `source` it starts from the newest run of the configuration's name.

    Raises:
        UserError: there is no such run, a folder of that name exists, or the name is not allowed.
    """
    run_folder.refuse_unwritable(out)
    source = source or run_folder.latest_run(out, config.name)
    parse_run({**config.model_dump(exclude_unset=True), "name": name}, source="--fork")
    folder = RunFolder(out / name)
    if folder.path.exists():
        raise UserError(f"--fork: {folder.path} already exists; choose another name.", code="run-exists")
    return source, folder, config.model_copy(update={"name": name})


def make_fork(job: Job, source: RunFolder, folder: RunFolder, inputs: InputFingerprints) -> None:
    """Create the folder of a fork, whole or not at all, with the checkpoint and the logs up to it.

    Raises:
        UserError: the run has no intact checkpoint, none that fits, or one at or beyond the new number of steps.
    """
    done = checkpoint.restore(
        job, source.checkpoints
    )  # refuses a checkpoint that does not fit before anything is written
    if not done:
        raise UserError(f"--fork: {source.path} has no checkpoint yet to start from.", code="no-checkpoint")
    if done >= job.config.train.steps:
        raise UserError(
            f"--fork: the checkpoint of {source.path} is after step {done}, and train.steps is "
            f"{job.config.train.steps}: there would be nothing to train. Set a larger train.steps.",
            code="nothing-to-do",
        )
    before = source.read_config()
    changed = changes(before, job.config)
    with folder_atomically(folder.path) as path:
        new = RunFolder(path)
        new.checkpoints.mkdir()
        _copy_run(source, new, done)
        line = {"step": done, "forked_from": source.path.name}
        new.history_file.write_text(json.dumps(line) + "\n", encoding="utf-8")
        remember(new.history_file, done, changed)
        new.sources_file.write_text(fingerprints_text(inputs), encoding="utf-8")
        run_folder.write_config(new, job.config, f"Forked from {source.path.name} after step {done}.")
    values = f", with other values:\n{changes_table(changed)}" if changed else ""
    logger.info(f"forked {source.path} after step {done}{values}")


def _copy_run(source: RunFolder, target: RunFolder, done: int) -> None:
    """Copy the checkpoint after `done` steps and the logs up to it."""
    file = checkpoint.checkpoint_file(source.checkpoints, done)
    shutil.copyfile(file, target.checkpoints / file.name)
    with (
        source.steps_file.open(encoding="utf-8") as log,
        target.steps_file.open("w", encoding="utf-8", newline="\n") as copy,
    ):
        copy.writelines(islice(log, done))
    if source.validation_file.exists():
        lines = [line for line in read_validation(source.validation_file) if line["step"] <= done]
        target.validation_file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
