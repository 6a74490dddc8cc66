"""`snrlab train`: from a run file to a finished LoRA or model."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snrlab.cli.launch import is_first_process, is_launched, launch
from snrlab.cli.messages import is_quiet, logged_on_stdout, report_written
from snrlab.core.errors import DEBUG, UserError
from snrlab.installation import install_command

if TYPE_CHECKING:
    from snrlab.config import RunConfig
    from snrlab.train.runner import Outcome

logger = logging.getLogger(__name__)
INTERRUPTED = 130
OutOption = Annotated[Path, typer.Option("--out", help="Folder in which run folders are created.", metavar="DIR")]
NoDatesOption = Annotated[
    bool, typer.Option("--no-dates", help="Write no dates or timings: identical runs give identical bytes.")
]


def train_command(
    run: Annotated[Path, typer.Argument(help="Run file, such as configs/lora.toml or a run folder's run.toml.")],
    out: OutOption = Path("runs"),
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override a field; repeatable.", metavar="SECTION.KEY=VALUE")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the last checkpoint, or start if there is none.")
    ] = False,
    no_dates: NoDatesOption = False,
    fork: Annotated[
        str | None,
        typer.Option("--fork", help="Start a new run of this name from the run's last checkpoint.", metavar="NAME"),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of a bug.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Do everything up to the first step, report the findings, and stop.")
    ] = False,
    processes: Annotated[
        int, typer.Option("--processes", min=1, help="Processes that train the run together, one for each GPU.")
    ] = 1,
) -> None:
    """Train a LoRA or a full model from a run file.

    The run lives in DIR/NAME. A finished run is never overwritten: the next becomes NAME-2. Ctrl-C saves and stops;
    the same command with --resume continues bit for bit. If the run file has changed, --resume lists the differences
    and accepts those that may change; for the others there is --fork.

    On several GPUs: --processes N, or accelerate launch -m snrlab train RUN.

    Example: snrlab train run.toml --set train.steps=500
    """
    from snrlab.config import read_run

    if debug:
        os.environ[DEBUG] = "1"
    if resume and fork is not None:
        raise UserError(
            "--resume continues a run, --fork starts another from it; give one of them.", code="conflicting-options"
        )

    config = read_run(run, [*(set_ or []), *(["output.dates=false"] if no_dates else [])])
    logger.debug(f"read {run}" + "".join(f", {override}" for override in set_ or ()))
    if check:
        if processes > 1 or is_launched():
            raise UserError("--check looks at one process; leave out --processes.", code="conflicting-options")
        check_training(config, out)
        return
    if resume:
        refuse_copy(run, out, config)
    if processes > 1 and not is_launched():
        sys.exit(launch(processes, sys.argv[1:]))
    outcome = run_training(config, out, resume=resume, fork=fork)
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


def run_training(config: RunConfig, out: Path, *, resume: bool = False, fork: str | None = None) -> Outcome:
    """Run the training in this process, with the libraries quiet and offline; stopping it at once ends the program.

    Raises:
        UserError: the training libraries are missing, or the run is at fault.
    """
    quiet_libraries()
    from snrlab.distributed import current_processes
    from snrlab.train.runner import run

    try:
        outcome = run(config, out, resume=resume, fork=fork)
        current_processes().close()
        return outcome
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _log_next_steps(outcome: Outcome) -> None:
    from snrlab.config.wrong_file import shell_quoted

    folder, config = outcome.folder, outcome.config
    if is_quiet():
        report_written(folder.result(config))
    if config.output.report:
        logger.info(f"report {folder.report}")
    if config.train.method == "lora" and config.sample.prompts:
        logger.info(f"to see what it does: snrlab sample {shell_quoted(folder.path)} --strength 0 --strength 1")


def refuse_copy(file: Path, out: Path, config: RunConfig) -> None:
    """Refuse to resume from the run file of a copied run folder, with the command that resumes the copy (UserError)."""
    from snrlab.runs.folder import RunFolder

    folder = file.absolute().parent
    run_folder = RunFolder(folder)
    if file.name == run_folder.config_file.name and run_folder.checkpoints.is_dir() and folder.name != config.name:
        raise UserError(
            f"{folder.name} is a copy of the run {config.name}, and --resume would go on with {out / config.name}. To "
            f'go on with the copy: snrlab train {file} --out {folder.parent} --set name="{folder.name}" --resume',
            code="run-exists",
        )


def quiet_libraries() -> None:
    """Keep the training libraries from the network and from printing (UserError if one is missing)."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if sys.modules.get("torch") is None and is_first_process():
        logger.info("loading the libraries ...")  # this takes seconds
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
