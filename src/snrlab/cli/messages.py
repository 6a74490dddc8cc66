"""What the package logs, on the terminal: one handler that prints on stderr."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import typer

from snrlab.cli.training.launch import first

PACKAGE = logging.getLogger("snrlab")


class TerminalHandler(logging.Handler):
    """Prints records on stderr, or while `on_stdout` on stdout; above a progress bar where there is one."""

    on_stdout = False

    def emit(self, record: logging.LogRecord) -> None:
        """Print it, unless the terminal has been closed: that is no reason to lose what was trained."""
        with suppress(OSError, RuntimeError):  # the latter where a signal came while something was being printed
            typer.echo(self.format(record), err=not self.on_stdout)


HANDLER = TerminalHandler()


def install() -> None:
    """Print what the package logs; of several processes of a run, in the first alone."""
    if HANDLER not in PACKAGE.handlers and first():
        PACKAGE.addHandler(HANDLER)
    PACKAGE.setLevel(logging.INFO)


@contextmanager
def logged_on_stdout() -> Iterator[None]:
    """Within it the log is the command's answer, and so on stdout."""
    HANDLER.on_stdout = True
    try:
        yield
    finally:
        HANDLER.on_stdout = False
