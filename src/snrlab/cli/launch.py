"""`snrlab train --processes N`: the same command as N processes of one run on this machine, one for each device.

`accelerate launch` and `torchrun` do the same, on several machines too. This one leaves Ctrl-C to the processes, which
save before they stop, however long that takes, and says in a line what became of them.
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
GRACE = 20.0  # seconds that the others get to end by themselves when one has ended; then they are asked, then killed
SAID = (0, 2, 130)  # exit codes of processes that have said why


def launched() -> bool:
    """Whether this process is one of several that a launcher has started."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def first() -> bool:
    """Whether this process is the one that tells the user, alone or as the first of several."""
    return os.environ.get("RANK", "0") == "0"


def launch(count: int, arguments: Sequence[str]) -> int:
    """Run `snrlab` with these arguments as `count` processes of one run; the exit code of the first that failed."""
    port = _free_port()
    command = [sys.executable, "-m", "snrlab", *arguments]
    processes = [subprocess.Popen(command, env=_environment(rank, count, port)) for rank in range(count)]
    before = {number: signal.signal(number, _ignore) for number in SIGNALS}  # the terminal tells the processes
    for number in SIGNALS:
        if number.name == "SIGTERM":  # which a scheduler sends to this one alone
            signal.signal(number, lambda *_: _each(processes, "terminate"))
    try:
        return _wait(processes)
    finally:
        _each(processes, "kill")
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> int:
    first: int | None = None
    since = 0.0
    while any(process.poll() is None for process in processes):
        if first is None:
            first = next((rank for rank, process in enumerate(processes) if process.returncode), None)
            since = time.monotonic()
        elif time.monotonic() - since > 2 * GRACE:
            _each(processes, "kill")
        elif time.monotonic() - since > GRACE:
            _each(processes, "terminate")
        time.sleep(POLL)
    if first is None:
        first = next((rank for rank, process in enumerate(processes) if process.returncode), None)
    if first is None:
        return 0
    code = processes[first].returncode
    if code not in SAID:
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        typer.echo(f"snrlab: process {first} of {len(processes)} {how}, so the run has stopped.", err=True)
    return code if code > 0 else 1


def _environment(rank: int, count: int, port: int) -> dict[str, str]:
    found = {
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
    return threads | os.environ | {name: str(value) for name, value in found.items()}


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _each(processes: Sequence[subprocess.Popen[bytes]], what: str) -> None:
    for process in processes:
        if process.poll() is None:
            getattr(process, what)()


def _ignore(*_: object) -> None:
    """Leave it to the processes."""
