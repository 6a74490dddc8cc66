"""The command line. Each command has its own module, which imports what it needs when the command runs."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

import typer

from snrlab import __version__
from snrlab.cli.analysis.cite import cite_command
from snrlab.cli.analysis.compare import compare_command
from snrlab.cli.analysis.explain import explain_command
from snrlab.cli.analysis.inspect import inspect_command
from snrlab.cli.analysis.plot import plot_command
from snrlab.cli.analysis.table import table_command
from snrlab.cli.exchange.convert import convert_command
from snrlab.cli.exchange.export import export_command
from snrlab.cli.exchange.import_ import import_command
from snrlab.cli.exchange.merge import merge_command
from snrlab.cli.help import Command, CommandGroup
from snrlab.cli.machine.doctor import doctor_command
from snrlab.cli.messages import install_log_handler, with_verbosity
from snrlab.cli.training.data import data_command
from snrlab.cli.training.demo import demo_command
from snrlab.cli.training.evaluate import evaluate_command
from snrlab.cli.training.init import init_command
from snrlab.cli.training.open import open_command
from snrlab.cli.training.resume import resume_command
from snrlab.cli.training.runs import runs_command
from snrlab.cli.training.sample import sample_command
from snrlab.cli.training.train import train_command
from snrlab.core.errors import DEBUG, BugError, CombinedError, UserError, first_line
from snrlab.core.registries.registry import load_plugins
from snrlab.progress import print_wrapped

app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "See what a diffusion training recipe does to every noise level, and train with it.\n\n"
        "Start with `snrlab explain FILE`, where FILE holds your settings of kohya's trainer or OneTrainer; or with "
        "`snrlab demo`, which takes a few minutes and downloads nothing."
    ),
    epilog="Options and an example: `snrlab COMMAND --help`. The guide begins at docs/index.md.",
)


def _show_version(show: bool) -> None:
    if show:
        typer.echo(f"snrlab {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", "-V", callback=_show_version, is_eager=True, help="Show the version."
    ),
) -> None:
    install_log_handler()


COMMANDS: dict[str, tuple[Callable[..., None], ...]] = {
    "See what settings and files really do": (
        explain_command,
        compare_command,
        inspect_command,
        plot_command,
        table_command,
        cite_command,
    ),
    "Train": (demo_command, init_command, data_command, train_command, resume_command),
    "Look at runs and models": (runs_command, open_command, sample_command, evaluate_command),
    "Settings and models of other programs": (import_command, export_command, convert_command, merge_command),
    "This machine": (doctor_command,),
}
ANSWERS = {
    explain_command,
    compare_command,
    inspect_command,
    plot_command,
    table_command,
    cite_command,
    runs_command,
    doctor_command,
}  # commands that print their answer and nothing else, so they have neither --quiet nor --verbose
for panel, commands in COMMANDS.items():
    for command in commands:
        with_options = command if command in ANSWERS else with_verbosity(command)
        app.command(command.__name__.removesuffix("_command"), cls=Command, rich_help_panel=panel)(with_options)


def print_error(error: UserError) -> None:
    """Print a user's mistake on stderr; the code comes first, since messages may end in a command to type."""
    print_wrapped(f"snrlab: error[{error.code}]: {error}", highlighted=("red", f"error[{error.code}]"))


def main() -> None:
    """Run the command line: a user's mistake ends in a message and exit code 2, a bug in a message and exit code 1."""
    try:
        load_plugins()
        app()
    except UserError as mistake:
        for error in mistake.errors if isinstance(mistake, CombinedError) else (mistake,):
            print_error(error)
        sys.exit(2)
    except BugError as bug:
        typer.echo(f"snrlab: {bug}", err=True)
        if os.environ.get(DEBUG):
            traceback.print_exception(bug.__cause__)
        sys.exit(1)
    except BrokenPipeError:  # the reader of the output has closed it, as in `snrlab table | head`
        sys.stderr.close()
        sys.exit(141)
    except OSError as reason:
        typer.echo(f"snrlab: {reason.filename or 'a file'} cannot be read or written ({reason.strerror}).", err=True)
        sys.exit(2)
    except Exception as bug:  # the last place to turn a traceback into a sentence
        if os.environ.get(DEBUG):
            raise
        message = first_line(bug, "no message")
        typer.echo(
            f"snrlab: a bug in snrlab, not a mistake of yours: {type(bug).__name__}: {message}. With {DEBUG}=1 in the "
            "environment the same command shows the traceback.",
            err=True,
        )
        sys.exit(1)
