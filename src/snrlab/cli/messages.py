"""Terminal output of commands: the package's log on stderr, answers on stdout, --quiet and --verbose.

A command's answer and the names of the files it wrote are printed on stdout. Progress and warnings are logged to
`snrlab` and printed on stderr by the handler in this module. `--quiet` keeps warnings, errors, answers and the bare
paths of written files; `--verbose` adds what was loaded from where and how long it took.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from snrlab.cli.launch import is_first_process
from snrlab.core.errors import UserError
from snrlab.progress import print_wrapped

PACKAGE = logging.getLogger("snrlab")
QUIET = Annotated[bool, typer.Option("--quiet", "-q", help="Print only warnings, errors and the result.")]
VERBOSE = Annotated[bool, typer.Option("--verbose", help="Also print what is loaded from where, and timings.")]


class TerminalHandler(logging.Handler):
    """Prints log records on stderr, or on stdout while `on_stdout` is set; above a live line if there is one."""

    on_stdout = False

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record; a closed terminal is ignored, since it is no reason to lose what was trained."""
        with suppress(OSError, RuntimeError):  # RuntimeError: a signal came during another print
            style = "yellow" if record.levelno >= logging.WARNING else ""
            print_wrapped(self.format(record), style, on_stdout=self.on_stdout)


HANDLER = TerminalHandler()


def install_log_handler() -> None:
    """Print the package's log; of several processes of a run only the first prints."""
    if HANDLER not in PACKAGE.handlers and is_first_process():
        PACKAGE.addHandler(HANDLER)
    set_level()


def set_level(*, quiet: bool = False, verbose: bool = False) -> None:
    """Set which log records are printed (UserError if both are given)."""
    if quiet and verbose:
        raise UserError("--quiet and --verbose exclude each other; give one of them.", code="conflicting-options")
    PACKAGE.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)


def is_quiet() -> bool:
    """Whether --quiet was given."""
    return PACKAGE.level > logging.INFO


@contextmanager
def logged_on_stdout() -> Iterator[None]:
    """Context in which the log is the command's answer, so it is printed on stdout."""
    HANDLER.on_stdout = True
    try:
        yield
    finally:
        HANDLER.on_stdout = False


def print_unless_quiet(text: str) -> None:
    """Print a command's notes on its result on stdout, unless --quiet was given."""
    if not is_quiet():
        typer.echo(text)


def report_written(*paths: Path) -> None:
    """Print the names of written files; with --quiet only their paths."""
    for path in paths:
        typer.echo(f"{path}" if is_quiet() else f"wrote {path}")


def with_verbosity(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options --quiet and --verbose added."""

    @wraps(command)
    def run(*args: Any, quiet: bool = False, verbose: bool = False, **options: Any) -> None:
        set_level(quiet=quiet, verbose=verbose)
        command(*args, **options)

    signature = inspect.signature(command, eval_str=True)
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in (("quiet", QUIET), ("verbose", VERBOSE))
    ]
    with_added = signature.replace(parameters=[*signature.parameters.values(), *added])
    run.__signature__ = with_added  # type: ignore[attr-defined]  # typer reads it
    run.__annotations__ = {name: parameter.annotation for name, parameter in with_added.parameters.items()}
    return run
