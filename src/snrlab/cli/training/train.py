"""`snrlab train`: a run file to a finished LoRA or model."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snrlab.cli.launch import first, launch, launched
from snrlab.cli.messages import is_quiet, logged_on_stdout, wrote
from snrlab.core.errors import DEBUG, UserError

if TYPE_CHECKING:
    from snrlab.config import RunConfig
    from snrlab.train.runner import Outcome

logger = logging.getLogger(__name__)
INTERRUPTED = 130
OutOption = Annotated[Path, typer.Option("--out", help="Folder that run folders are made in.", metavar="DIR")]
NoDatesOption = Annotated[
    bool, typer.Option("--no-dates", help="Write no dates or timings: equal runs give equal bytes.")
]


def train_command(
    run: Annotated[Path, typer.Argument(help="Run file, such as configs/lora.toml or a run folder's run.toml.")],
    out: OutOption = Path("runs"),
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override a field; repeatable.", metavar="SECTION.KEY=VALUE")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint, or start where there is none.")
    ] = False,
    no_dates: NoDatesOption = False,
    fork: Annotated[
        str | None,
        typer.Option("--fork", help="Start a new run of this name from the run's last checkpoint.", metavar="NAME"),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show where in the program a bug is.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Do all that comes before the first step, say what it found, and stop.")
    ] = False,
    processes: Annotated[
        int, typer.Option("--processes", min=1, help="Processes that train the run together, one for each GPU.")
    ] = 1,
) -> None:
    """Train a LoRA or a full model as a run file says.

    The run lives in DIR/NAME. A finished run is never overwritten: the next becomes NAME-2. Ctrl-C
    saves and stops; the same command with --resume goes on, to the bit. With a changed run file --resume says
    what is different, and takes what may change; for the rest there is --fork.

    On several GPUs: --processes N, or accelerate launch -m snrlab train RUN.
    """
    from snrlab.config import read_run

    if debug:
        os.environ[DEBUG] = "1"
    if resume and fork is not None:
        raise UserError(
            "--resume goes on with a run, --fork starts another from it; give one of them.", code="conflicting-options"
        )

    config = read_run(run, [*(set_ or []), *(["output.dates=false"] if no_dates else [])])
    logger.debug(f"read {run}" + "".join(f", {override}" for override in set_ or ()))
    if check:
        if processes > 1 or launched():
            raise UserError("--check looks at one process; leave out --processes.", code="conflicting-options")
        check_training(config, out)
        return
    if resume:
        refuse_copy(run, out, config)
    if processes > 1 and not launched():
        sys.exit(launch(processes, sys.argv[1:]))
    outcome = run_training(config, out, resume=resume, fork=fork)
    if not outcome.finished:
        sys.exit(INTERRUPTED)
    if first():
        _say_what_next(outcome)


def check_training(config: RunConfig, out: Path) -> None:
    """Try all that a run needs, and leave nothing behind.

    Raises:
        UserError: whatever would keep it from starting or from being saved.
    """
    quiet_libraries()
    from snrlab.train.runner import check

    with logged_on_stdout():
        check(config, out)
    typer.echo("ready to train; nothing was written")


def run_training(config: RunConfig, out: Path, *, resume: bool = False, fork: str | None = None) -> Outcome:
    """Run in this process, with the libraries kept quiet and offline; where it is stopped at once, so is the program.

    Raises:
        UserError: the training libraries are missing, or anything the run finds.
    """
    quiet_libraries()
    from snrlab.distributed import here
    from snrlab.train.runner import run

    try:
        outcome = run(config, out, resume=resume, fork=fork)
        here().close()
        return outcome
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _say_what_next(outcome: Outcome) -> None:
    from snrlab.config.wrong_file import quoted

    folder, config = outcome.folder, outcome.config
    if is_quiet():
        wrote(folder.result(config))
    if config.output.report:
        logger.info(f"report {folder.report}")
    if config.train.method == "lora" and config.sample.prompts:
        logger.info(f"to see what it does: snrlab sample {quoted(folder.path)} --strength 0 --strength 1")


def refuse_copy(file: Path, out: Path, config: RunConfig) -> None:
    """Say of the run file in a copied run folder how to go on with the copy (UserError)."""
    folder = file.absolute().parent
    if file.name == "run.toml" and (folder / "checkpoints").is_dir() and folder.name != config.name:
        raise UserError(
            f"{folder.name} is a copy of the run {config.name}, and --resume would go on with {out / config.name}. To "
            f'go on with the copy: snrlab train {file} --out {folder.parent} --set name="{folder.name}" --resume',
            code="run-exists",
        )


def quiet_libraries() -> None:
    """Keep the training libraries from the network and from printing; say so if they are missing."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if sys.modules.get("torch") is None and first():
        logger.info("loading the libraries ...")  # seconds in which nothing else can be said
    try:
        import torch  # noqa: F401  # first: the others take a second to find that it is missing

        import diffusers  # isort: skip
        import peft  # noqa: F401
        import transformers
    except ImportError as missing:
        raise UserError(
            f'training needs {missing.name}, which is not installed: pip install "snrlab[train]".',
            code="missing-package",
        ) from None
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
