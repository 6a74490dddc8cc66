"""How a run stands, told from its folder alone: running, finished, stopped or broken."""

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
    """How a run stands.

    Attributes:
        state: `running` while a process trains in the folder, `finished` when its result is there, `stopped` where it
            can go on with --resume, `broken` where its files cannot be read.
        done: optimizer steps in its log.
        steps: optimizer steps it is to take; 0 where that cannot be read.
        reason: why it is broken; else empty.
    """

    state: RunState
    done: int
    steps: int
    reason: str = ""


def run_status(folder: RunFolder) -> RunStatus:
    """How the run in a folder stands.

    Raises:
        UserError: there is no run in it.
    """
    # whoever trains leaves a note beside the lock; without one the lock is left alone, so that a look takes it from
    # nobody who is about to start
    running = (folder.path / HOLDER).exists() and is_locked(folder.path)
    if not (running or folder.started):
        raise UserError(f"{folder.path} holds no run.", code="not-a-run")
    if not folder.started:
        return RunStatus("running", 0, 0)
    try:
        config = folder.read_config()
        last = deque(read_steps(folder.steps_file), maxlen=1)
    except UserError as reason:
        return RunStatus("running" if running else "broken", 0, 0, "" if running else str(reason))
    done = last[0]["step"] + 1 if last else 0
    finished = folder.result(config).exists()
    return RunStatus("running" if running else "finished" if finished else "stopped", done, config.train.steps)
