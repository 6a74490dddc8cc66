"""`snrlab train`: from a run file to a finished LoRA or model."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snrlab.cli.browser import open_once_written
from snrlab.cli.early_checks import refuse_unusable_inputs
from snrlab.cli.launch import is_first_process, is_launched, launch
from snrlab.cli.messages import is_quiet, logged_on_stdout, report_written
from snrlab.cli.run_folders import RUNS
from snrlab.core.errors import DEBUG, UserError
from snrlab.installation import install_command

if TYPE_CHECKING:
    from snrlab.config import RunConfig
    from snrlab.runs.folder import RunFolder
    from snrlab.train.runner import Outcome

logger = logging.getLogger(__name__)
INTERRUPTED = 130
OutOption = Annotated[Path, typer.Option("--out", help="Folder in which run folders are created.", metavar="DIR")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Override a field; repeatable.", metavar="SECTION.KEY=VALUE")
]
OpenOption = Annotated[bool, typer.Option("--open", help="Open the report in a browser once it is written.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of a bug.")]
NoDatesOption = Annotated[
    bool, typer.Option("--no-dates", help="Write no dates or timings: identical runs give identical bytes.")
]


def train_command(
    context: typer.Context,
    run: Annotated[
        Path, typer.Argument(help="Run file, such as run.toml; or a run folder, for its settings.", metavar="RUN")
    ],
    out: OutOption = RUNS,
    set_: SetOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the last checkpoint, or start if there is none.")
    ] = False,
    no_dates: NoDatesOption = False,
    fork: Annotated[
        str | None,
        typer.Option("--fork", help="Start a new run of this name from the run's last checkpoint.", metavar="NAME"),
    ] = None,
    open_: OpenOption = False,
    debug: DebugOption = False,
    check: Annotated[
        bool, typer.Option("--check", help="Do everything up to the first step, report the findings, and stop.")
    ] = False,
    processes: Annotated[
        int, typer.Option("--processes", min=1, help="Processes that train the run together, one for each GPU.")
    ] = 1,
) -> None:
    """Train a LoRA or a full model from a run file.

    The run lives in DIR/NAME. A finished run is never overwritten: the next becomes NAME-2. Ctrl-C saves and stops;
    snrlab resume DIR/NAME continues bit for bit. If the run file has changed, --resume lists the differences and
    accepts those that may change; for the others there is --fork.

    On several GPUs: --processes N, or accelerate launch -m snrlab train RUN.

    Example: snrlab train run.toml --set train.steps=500
    """
    from snrlab.config import read_run
    from snrlab.runs.folder import RunFolder

    if debug:
        os.environ[DEBUG] = "1"
    if resume and fork is not None:
        raise UserError(
            "--resume continues a run, and --fork starts another from it. Give one of them.", code="conflicting-options"
        )
    earlier = RunFolder(run) if RunFolder(run).started else None
    overrides = [*(set_ or []), *(["output.dates=false"] if no_dates else [])]
    if earlier is not None:
        if not (resume or check):
            _refuse_same_again(earlier, overrides, fork)
        run, name = earlier.config_file, earlier.path.name
        overrides = [f'name="{name}"', *overrides]
        origin = context.get_parameter_source("out")
        out = out if origin is not None and origin.name == "COMMANDLINE" else earlier.path.parent
    config = read_run(run, overrides)
    logger.debug(f"read {run}" + "".join(f", {override}" for override in set_ or ()))
    refuse_unusable_inputs(config)
    if check:
        if processes > 1 or is_launched():
            raise UserError("--check looks at one process. Leave out --processes.", code="conflicting-options")
        check_training(config, out)
        return
    if resume and earlier is None:
        refuse_copy(run, out, config)
    if processes > 1 and not is_launched():
        sys.exit(launch(processes, sys.argv[1:]))
    train_and_report(config, out, resume=resume, fork=fork, earlier=earlier, open_report=open_)


def _refuse_same_again(earlier: RunFolder, overrides: Sequence[str], fork: str | None) -> None:
    """Refuse to train in the folder of an unfinished run, and to train a finished run again unchanged (UserError)."""
    from snrlab.config.wrong_file import shell_quoted
    from snrlab.runs.folder import resume_line

    path = shell_quoted(earlier.path)
    if fork is not None:
        return
    if not earlier.finished:
        raise UserError(
            f"{earlier.path} is an unfinished run. To go on with it:\n  {resume_line(earlier)}", code="run-unfinished"
        )
    if not overrides:
        raise UserError(
            f"{earlier.path} is a finished run, and it stays as it is. To train its settings again as a new run:\n"
            f"  snrlab train {path} --set name=NAME\n"
            "To train it longer, from its last checkpoint:\n"
            f"  snrlab train {path} --fork NAME --set train.steps={2 * earlier.read_config().train.steps}",
            code="run-exists",
        )


def train_and_report(
    config: RunConfig,
    out: Path,
    *,
    resume: bool,
    fork: str | None = None,
    earlier: RunFolder | None,
    open_report: bool,
) -> None:
    """Train, and print what to do next; the program ends here if the run was stopped.

    Args:
        config: the run.
        out: the folder of the run folders.
        resume: go on with a run: `earlier`, or else the newest of that name.
        fork: name of a new run that starts from the last checkpoint of that run.
        earlier: the run to resume or to fork, where it is not the newest of that name.
        open_report: open the report in a browser once it is written.

    Raises:
        UserError: the run is at fault.
    """
    if open_report and not config.output.report:
        raise UserError("--open needs a report. Add: --set output.report=true", code="conflicting-options")
    outcome = run_training(config, out, resume=resume, fork=fork, earlier=earlier, open_report=open_report)
    if not outcome.finished:
        sys.exit(INTERRUPTED)
    if is_first_process():
        _log_next_steps(outcome)


def check_training(config: RunConfig, out: Path) -> None:
    """Try everything that a run needs, and leave nothing behind.

    Raises:
        UserError: anything that would keep the run from starting or from being saved.
    """
    quiet_libraries()
    from snrlab.train.runner import check

    with logged_on_stdout():
        check(config, out)
    typer.echo("ready to train; nothing was written")


def run_training(
    config: RunConfig,
    out: Path,
    *,
    resume: bool = False,
    fork: str | None = None,
    earlier: RunFolder | None = None,
    open_report: bool = False,
) -> Outcome:
    """Run the training in this process, with the libraries quiet and offline; stopping it at once ends the program.

    Raises:
        UserError: the training libraries are missing, or the run is at fault.
    """
    quiet_libraries()
    from snrlab.config.wrong_file import shell_quoted
    from snrlab.distributed import current_processes
    from snrlab.train.runner import run

    def watch(folder: RunFolder) -> None:
        if folder.finished:
            return
        if "tensorboard" in config.log.trackers:
            logger.info(f"to watch the curves:\n  tensorboard --logdir {shell_quoted(out)}")
        if open_report:
            open_once_written(folder.report)

    try:
        outcome = run(config, out, resume=resume, fork=fork, earlier=earlier, opened=watch)
        current_processes().close()
        return outcome
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _log_next_steps(outcome: Outcome) -> None:
    from snrlab.config.wrong_file import shell_quoted

    folder, config = outcome.folder, outcome.config
    path = shell_quoted(folder.path)
    if is_quiet():
        report_written(folder.result(config))
    if config.output.report:
        logger.info(f"report {folder.report}\nto see it:\n  snrlab open {path}")
    if config.train.method == "lora" and config.sample.prompts:
        logger.info(f"to see what the LoRA does:\n  snrlab sample {path} --strength 0 --strength 1")


def refuse_copy(file: Path, out: Path, config: RunConfig) -> None:
    """Refuse to resume from the run file of a copied run folder, with the command that resumes the copy (UserError)."""
    from snrlab.runs.folder import RunFolder, resume_line

    folder = file.absolute().parent
    run_folder = RunFolder(folder)
    if file.name == run_folder.config_file.name and run_folder.checkpoints.is_dir() and folder.name != config.name:
        raise UserError(
            f"{folder.name} is a copy of the run {config.name}, and --resume would go on with {out / config.name}. To "
            f"go on with the copy:\n  {resume_line(run_folder)}",
            code="run-exists",
        )


def quiet_libraries() -> None:
    """Keep the training libraries from the network and from printing (UserError if one is missing)."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if sys.modules.get("torch") is None and is_first_process():
        logger.info("loading PyTorch and diffusers ...")  # this takes seconds
    try:
        import torch  # noqa: F401  # first: the others take a second to find that it is missing

        import diffusers  # isort: skip
        import peft  # noqa: F401
        import transformers
    except ImportError as missing:
        raise UserError(
            f"training needs {missing.name}, which is not installed: {install_command('train')}.",
            code="missing-package",
        ) from None
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
