"""The report of a run that is written while the run goes on, so that it can be watched in a browser."""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from types import TracebackType

import torch

from snrlab.lab.report import write_report
from snrlab.runs.folder import RunFolder
from snrlab.runs.sessions import note_end, note_start
from snrlab.runs.status import RunState
from snrlab.train.job import Job

logger = logging.getLogger(__name__)

_FREE_SECONDS = 3.0  # about what a report at the end costs too: loading the library that draws figures
_SHARE = 0.01  # of the time since the start that reports may take besides
_QUIET_SECONDS = 60.0  # without a report, after which a step writes one


class LiveReport:
    """Writes report.html while a run goes on, and notes when and where it trains.

    A report is skipped where all of them together would take more than a hundredth of the run. One that cannot be
    written never stops the run: a warning is logged once.
    """

    def __init__(self, job: Job, folder: RunFolder, started: datetime) -> None:
        """Report on a job in its folder; does nothing outside the main process."""
        output, main = job.config.output, job.processes.main
        self._folder, self._writes, self._notes = folder, main and output.report, main and output.dates
        self._start, self._spent, self._last = time.monotonic(), 0.0, 0.0
        self._warned = False
        if self._notes:
            self._quietly(lambda: note_start(folder.sessions_file, started, device_name(job), machine_name()))

    def __enter__(self) -> LiveReport:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """End the session; after an error, also write that the run has stopped."""
        self.end_session()
        if kind is not None:
            self.write("stopped")

    def update(self) -> None:
        """Write the report of a run that goes on, unless reports have taken too much of its time."""
        if self._spent <= _FREE_SECONDS + _SHARE * (time.monotonic() - self._start):
            self.write("running")

    def after_a_step(self) -> None:
        """Write the report if there has been none for a minute."""
        if self._writes and time.monotonic() - self._last > _QUIET_SECONDS:
            self.update()

    def end_session(self) -> None:
        """Note the end of the session, once."""
        if self._notes:
            self._notes = False
            self._quietly(lambda: note_end(self._folder.sessions_file))

    def write(self, state: RunState) -> None:
        """Write the report of a run in this state."""
        if self._writes:
            start = time.monotonic()
            self._quietly(lambda: write_report(self._folder.path, state))
            self._last = time.monotonic()
            self._spent += self._last - start

    def _quietly(self, write: Callable[[], object]) -> None:
        try:
            write()
        except Exception as error:  # whatever it is, the run goes on
            if not self._warned:
                logger.warning(f"the report could not be written ({error}). The run goes on.")
                logger.debug("the report could not be written", exc_info=True)
            self._warned = True


def device_name(job: Job) -> str:
    """What a job trains on: the name of a graphics card, or the processor with its cores."""
    count = f"{job.processes.count} x " if job.processes.count > 1 else ""
    if job.device.type == "cuda":
        return count + torch.cuda.get_device_name(job.device)
    if job.device.type != "cpu":
        return count + job.device.type
    cores = os.cpu_count()
    with suppress(AttributeError, OSError):  # not on every system
        cores = len(os.sched_getaffinity(0))
    return f"{count}CPU with {cores} cores"


def machine_name() -> str:
    """System and processor of this machine in words, without its name in the network."""
    return f"{platform.system()}, {platform.machine()}"
