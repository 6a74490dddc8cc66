"""`snrlab open`: the report of a run in the web browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from snrlab.cli.browser import open_in_browser
from snrlab.cli.messages import print_unless_quiet
from snrlab.cli.run_folders import find_run


def open_command(
    run: Annotated[Path, typer.Argument(help="Run folder, or the name of a run in runs/.", metavar="RUN")],
) -> None:
    """Open the report of a run in the web browser, and print where it is.

    A run without a report gets one first. Where there is no browser, the path is all that is printed.

    Example: snrlab open runs/demo-debiased
    """
    folder = find_run(run)
    if not folder.report.is_file():
        from snrlab.lab.report import write_report

        write_report(folder.path)
        print_unless_quiet("made the report of this run")
    typer.echo(str(folder.report))
    if not open_in_browser(folder.report):
        print_unless_quiet("There is no web browser here. Open that file in one.")
