"""`snrlab resume`: go on with a run that was stopped, from its folder alone."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from snrlab.cli.early_checks import refuse_missing_package
from snrlab.cli.launch import is_launched, launch
from snrlab.cli.run_folders import find_run
from snrlab.cli.training.train import DebugOption, OpenOption, SetOption, train_and_report
from snrlab.core.errors import DEBUG


def resume_command(
    run: Annotated[Path, typer.Argument(help="Run folder, or the name of a run in runs/.", metavar="RUN")],
    set_: SetOption = None,
    open_: OpenOption = False,
    debug: DebugOption = False,
    processes: Annotated[
        int | None,
        typer.Option(
            "--processes", min=1, help="Processes that train the run together.", show_default="as many as before"
        ),
    ] = None,
) -> None:
    """Go on with a run that was stopped, from its last checkpoint and with its own settings.

    The result is bit for bit that of a run that was never stopped. --set changes what may change, such as the number
    of steps; a change that would make it another run is refused.

    Example: snrlab resume runs/mira
    """
    from snrlab.config import read_run
    from snrlab.runs.changes import processes_of

    if debug:
        os.environ[DEBUG] = "1"
    folder = find_run(run)
    config = read_run(folder.config_file, [f'name="{folder.path.name}"', *(set_ or [])])
    refuse_missing_package(config)
    if not is_launched():
        count = processes or processes_of(folder, folder.read_config()) or 1
        if count > 1:
            sys.exit(launch(count, sys.argv[1:]))
    train_and_report(config, folder.path.parent, resume=True, earlier=folder, open_report=open_)
