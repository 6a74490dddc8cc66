"""`snrlab demo`: the whole path on what ships with the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from snrlab.cli.train import OutOption, run_training
from snrlab.core.errors import UserError

if TYPE_CHECKING:
    from snrlab.config import RunConfig


def demo(out: OutOption = Path("runs")) -> None:
    """Train a small model and a LoRA on it from the emoji that ship with snrlab; a few minutes on two cores.

    First all weights of a small Stable Diffusion on Noto emoji (DIR/demo-base, kept for the next
    time), then a LoRA on another style (DIR/demo) with samples and a report.
    """
    base = _config("demo_base")
    typer.echo("1/2  base: all weights of a small model, on Noto emoji", err=True)
    outcome = run_training(base, out, resume=True)
    if not outcome.finished:
        raise UserError("the demo was stopped; the same command goes on with it.")
    typer.echo("2/2  LoRA: another style on that model", err=True)
    model = outcome.folder.result(outcome.config).absolute()
    outcome = run_training(_config("demo_lora", f'model.path="{model.as_posix()}"'), out)
    if outcome.finished:
        result = outcome.folder.result(outcome.config)
        typer.echo(f"LoRA    {result}\nreport  {outcome.folder.report}\nsamples {outcome.folder.samples}")


def _config(name: str, *overrides: str) -> RunConfig:
    from snrlab.config import read

    return read(Path(str(resources.files("snrlab.cli") / f"{name}.toml")), list(overrides))
