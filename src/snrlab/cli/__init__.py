"""The command line. Each command has its own module, which imports what it needs when the command runs."""

from __future__ import annotations

import os
import sys
import traceback

import typer

from snrlab import __version__
from snrlab.cli.help import MARKUP, CommandGroup, CommandPlace
from snrlab.cli.messages import install_log_handler
from snrlab.core.errors import DEBUG, BugError, CombinedError, UserError, first_line
from snrlab.core.registries.registry import load_plugins
from snrlab.progress import print_wrapped

_SETTINGS = "See what settings and files really do"
_TRAIN = "Train"
_RUNS = "Look at runs and models"
_EXCHANGE = "Settings and models of other programs"
_MACHINE = "This machine"


class Commands(CommandGroup):
    """All commands, in the order of the help; each is imported when it is asked for."""

    # those that answer print their answer and nothing else, so they have neither --quiet nor --verbose
    places = {
        "explain": CommandPlace(_SETTINGS, "snrlab.cli.analysis.explain", answers=True),
        "compare": CommandPlace(_SETTINGS, "snrlab.cli.analysis.compare", answers=True),
        "inspect": CommandPlace(_SETTINGS, "snrlab.cli.analysis.inspect", answers=True),
        "plot": CommandPlace(_SETTINGS, "snrlab.cli.analysis.plot", answers=True),
        "table": CommandPlace(_SETTINGS, "snrlab.cli.analysis.table", answers=True),
        "cite": CommandPlace(_SETTINGS, "snrlab.cli.analysis.cite", answers=True),
        "demo": CommandPlace(_TRAIN, "snrlab.cli.training.demo"),
        "init": CommandPlace(_TRAIN, "snrlab.cli.training.init"),
        "data": CommandPlace(_TRAIN, "snrlab.cli.training.data"),
        "train": CommandPlace(_TRAIN, "snrlab.cli.training.train"),
        "resume": CommandPlace(_TRAIN, "snrlab.cli.training.resume"),
        "study": CommandPlace(_TRAIN, "snrlab.cli.training.study"),
        "runs": CommandPlace(_RUNS, "snrlab.cli.training.runs", answers=True),
        "open": CommandPlace(_RUNS, "snrlab.cli.training.open"),
        "sample": CommandPlace(_RUNS, "snrlab.cli.training.sample"),
        "evaluate": CommandPlace(_RUNS, "snrlab.cli.training.evaluate"),
        "import": CommandPlace(_EXCHANGE, "snrlab.cli.exchange.import_"),
        "export": CommandPlace(_EXCHANGE, "snrlab.cli.exchange.export"),
        "convert": CommandPlace(_EXCHANGE, "snrlab.cli.exchange.convert"),
        "merge": CommandPlace(_EXCHANGE, "snrlab.cli.exchange.merge"),
        "doctor": CommandPlace(_MACHINE, "snrlab.cli.machine.doctor", answers=True),
    }


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=MARKUP,
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
