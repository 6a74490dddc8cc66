"""Status of a run, read from its folder alone: running, finished, stopped or broken."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

from snrlab.core.errors import UserError
from snrlab.runs.folder import RunFolder
from snrlab.runs.lock import HOLDER, is_locked
from snrlab.runs.logs import read_steps

RunState = Literal["running", "finished", "stopped", "broken"]


@dataclass(frozen=True)
class RunStatus:
    """State and progress of a run.

    Attributes:
        state: `running` while a process trains in the folder, `finished` once its result exists, `stopped` if it can
            be resumed, `broken` if its files cannot be read.
        done: optimizer steps in its log.
        steps: optimizer steps it is set to train; 0 if that cannot be read.
        reason: why it is broken; empty otherwise.
    """

    state: RunState
    done: int
    steps: int
    reason: str = ""


def run_status(folder: RunFolder) -> RunStatus:
    """Status of the run in a folder.

    Raises:
        UserError: the folder holds no run.
    """
    # a training process writes the holder file once it has the lock; without that file the lock is not even tried, so
    # that asking for the status cannot take it from a run that is just starting
    running = (folder.path / HOLDER).exists() and is_locked(folder.path)
    if not (running or folder.started):
        raise UserError(f"{folder.path} holds no run.", code="not-a-run")
    if not folder.started:
        return RunStatus("running", 0, 0)
    try:
        config = folder.read_config()
        last = deque(read_steps(folder.steps_file), maxlen=1)
    except UserError as error:
        return RunStatus("running" if running else "broken", 0, 0, "" if running else str(error))
    done = last[0]["step"] + 1 if last else 0
    finished = folder.result(config).exists()
    return RunStatus("running" if running else "finished" if finished else "stopped", done, config.train.steps)
