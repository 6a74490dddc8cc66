"""What commands write to the terminal: the package's log on stderr, --quiet and --verbose.

A command's answer, and the files it wrote, are printed on stdout. Progress and warnings are logged to `snrlab` and
come to stderr through the one handler here. `--quiet` leaves warnings, errors, answers, and of a file written its bare
path; `--verbose` adds what was loaded from where and how long it took.
"""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from snrlab.cli.launch import first
from snrlab.core.errors import UserError

PACKAGE = logging.getLogger("snrlab")
QUIET = Annotated[bool, typer.Option("--quiet", "-q", help="Print warnings, errors and the result alone: no progress.")]
VERBOSE = Annotated[bool, typer.Option("--verbose", help="Print also what is loaded from where, and timings.")]


class TerminalHandler(logging.Handler):
    """Prints records on stderr, or while `on_stdout` on stdout; above a progress bar where there is one."""

    on_stdout = False

    def emit(self, record: logging.LogRecord) -> None:
        """Print it, unless the terminal has been closed: that is no reason to lose what was trained."""
        with suppress(OSError, RuntimeError):  # the latter where a signal came while something was being printed
            stream = sys.stdout if self.on_stdout else sys.stderr  # as they are now: a bar puts a proxy in their place
            stream.write(f"{self.format(record)}\n")
            stream.flush()


HANDLER = TerminalHandler()


def install() -> None:
    """Print what the package logs; of several processes of a run, in the first alone."""
    if HANDLER not in PACKAGE.handlers and first():
        PACKAGE.addHandler(HANDLER)
    set_level()


def set_level(*, quiet: bool = False, verbose: bool = False) -> None:
    """What of the log is printed (UserError for both at once)."""
    if quiet and verbose:
        raise UserError("--quiet and --verbose exclude each other; give one of them.", code="conflicting-options")
    PACKAGE.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)


def is_quiet() -> bool:
    """Whether --quiet was given."""
    return PACKAGE.level > logging.INFO


@contextmanager
def logged_on_stdout() -> Iterator[None]:
    """Within it the log is the command's answer, and so on stdout."""
    HANDLER.on_stdout = True
    try:
        yield
    finally:
        HANDLER.on_stdout = False


def tell(text: str) -> None:
    """Print on stdout what a command says beside its result; nothing where --quiet was given."""
    if not is_quiet():
        typer.echo(text)


def wrote(*paths: Path) -> None:
    """Print which files were written; with --quiet their paths alone."""
    for path in paths:
        typer.echo(f"{path}" if is_quiet() else f"wrote {path}")


def with_verbosity(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options --quiet and --verbose."""

    @wraps(command)
    def run(*args: Any, quiet: bool = False, verbose: bool = False, **options: Any) -> None:
        set_level(quiet=quiet, verbose=verbose)
        command(*args, **options)

    signature = inspect.signature(command, eval_str=True)
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in (("quiet", QUIET), ("verbose", VERBOSE))
    ]
    whole = signature.replace(parameters=[*signature.parameters.values(), *added])
    run.__signature__ = whole  # type: ignore[attr-defined]  # which typer reads
    run.__annotations__ = {name: parameter.annotation for name, parameter in whole.parameters.items()}
    return run
