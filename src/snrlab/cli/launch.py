"""`snrlab train --processes N`: the same command as N processes of one run on this machine, one for each device.

`accelerate launch` and `torchrun` do the same, also on several machines. This launcher leaves Ctrl-C to the processes,
which save before they stop, however long that takes, and reports in one line how they ended.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

import typer

from snrlab.train.signals import SIGNALS

POLL = 0.1  # seconds
GRACE = 20.0  # seconds for the others to end when one has failed; then they are terminated, then killed
EXPLAINED = (0, 2, 130)  # exit codes of processes that have reported the reason themselves


def is_launched() -> bool:
    """Whether a launcher has started this process as one of several."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def is_first_process() -> bool:
    """Whether this process is the one that prints: the only one, or the first of several."""
    return os.environ.get("RANK", "0") == "0"


def launch(count: int, arguments: Sequence[str]) -> int:
    """Run `snrlab` with these arguments as `count` processes of one run; return the exit code of the first failure."""
    port = _free_port()
    command = [sys.executable, "-m", "snrlab", *arguments]
    processes = [subprocess.Popen(command, env=_environment(rank, count, port)) for rank in range(count)]
    # the terminal sends Ctrl-C to the processes too
    old_handlers = {number: signal.signal(number, _ignore) for number in SIGNALS}
    for number in SIGNALS:
        if number.name == "SIGTERM":  # a scheduler sends it to this process alone
            signal.signal(number, lambda *_: _call_running(processes, "terminate"))
    try:
        return _wait(processes)
    finally:
        _call_running(processes, "kill")
        for number, handler in old_handlers.items():
            signal.signal(number, handler)


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> int:
    failed: int | None = None
    since = 0.0
    while any(process.poll() is None for process in processes):
        if failed is None:
            failed = next((rank for rank, process in enumerate(processes) if process.returncode), None)
            since = time.monotonic()
        elif time.monotonic() - since > 2 * GRACE:
            _call_running(processes, "kill")
        elif time.monotonic() - since > GRACE:
            _call_running(processes, "terminate")
        time.sleep(POLL)
    if failed is None:
        failed = next((rank for rank, process in enumerate(processes) if process.returncode), None)
    if failed is None:
        return 0
    code = processes[failed].returncode
    if code not in EXPLAINED:
        ending = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        typer.echo(f"snrlab: process {failed} of {len(processes)} {ending}, so the run has stopped.", err=True)
    return code if code > 0 else 1


def _environment(rank: int, count: int, port: int) -> dict[str, str]:
    variables = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": count,
        "LOCAL_WORLD_SIZE": count,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count))}
    if sys.platform == "win32":
        threads["USE_LIBUV"] = "0"  # torch for Windows is built without it
    return threads | os.environ | {name: str(value) for name, value in variables.items()}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _call_running(processes: Sequence[subprocess.Popen[bytes]], method: str) -> None:
    for process in processes:
        if process.poll() is None:
            getattr(process, method)()


def _ignore(*_: object) -> None:
    """Ignore the signal: the processes handle it."""
