"""The command line in processes of their own that start at once: forked from one that has imported what they need."""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path

from snrlab.cli import main

PRELOADED = ["snrlab.cli", "snrlab.train.runner", "snrlab.pictures.sampling", "transformers.models.clip"]


def server() -> BaseContext:
    """Where such processes come from; without POSIX they start slowly."""
    context = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")
    context.set_forkserver_preload(PRELOADED)
    return context


class Command:
    """`snrlab` with these arguments, in a process group of its own: what tests ask of a `subprocess.Popen`."""

    def __init__(self, arguments: list[str], output: Path) -> None:
        """Start it; what it says is added to `output`."""
        context = server()
        has_begun, begun = context.Pipe(duplex=False)
        self._process = context.Process(target=_run, args=(arguments, str(output), begun))
        self._process.start()
        has_begun.recv()
        self.pid: int = self._process.pid or 0

    def poll(self) -> int | None:
        """Its exit code, -N where signal N has ended it, or None while it runs."""
        return self._process.exitcode

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        self._process.join()
        return self._process.exitcode or 0

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)


def _run(arguments: list[str], output: str, begun: Connection) -> None:
    os.setsid()
    begun.send(True)
    file = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(file, stream)
    sys.argv = ["snrlab", *arguments]
    main()
