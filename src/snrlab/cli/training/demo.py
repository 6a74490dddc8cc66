"""`snrlab demo`: see a recipe, train a LoRA with it, and measure what it did, on what ships with the package."""

from __future__ import annotations

import logging
import shutil
import sys
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snrlab.cli.training.train import INTERRUPTED, NoDatesOption, OutOption, run_training

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from snrlab.config import RunConfig
    from snrlab.evaluate.evaluation import Evaluation
    from snrlab.runs.folder import RunFolder


def demo_command(
    out: OutOption = Path("runs"),
    style: Annotated[str, typer.Option(help="Style to learn: ink, or the subtler fluent-3d.")] = "ink",
    no_dates: NoDatesOption = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a demo that was stopped.")] = False,
) -> None:
    """Train a LoRA on forty images of a style, and show what it changed: about two minutes on two cores.

    The base model is the small one that ships with snrlab; nothing is downloaded. The run goes into DIR/demo; its
    report.html shows pictures and numbers with and without the LoRA.
    """
    shipped = style.replace("-", "_")
    logger.info(f"snrlab demo: a LoRA of the style {shipped} on the small model that ships; about two minutes")
    config = demo_config(shipped, dates=not no_dates)
    _show_recipe(config)
    outcome = run_training(config, out, resume=resume)
    if not outcome.finished:
        sys.exit(INTERRUPTED)
    from snrlab.evaluate.demo_report import showcase

    logger.info("drawing with and without the LoRA ...")
    typer.echo(_summary(outcome.folder, outcome.config, showcase(outcome.folder)))


def demo_config(style: str, *, dates: bool = True) -> RunConfig:
    """The demo's run for a style (UserError for an unknown style, and for noto, which the base model already draws)."""
    from snrlab.config import read_run
    from snrlab.core.errors import unknown
    from snrlab.data import emoji

    styles = [name for name in emoji.styles() if name != "noto"]
    if style not in styles:
        raise unknown("--style", style, styles)
    file = Path(str(resources.files("snrlab.cli.training") / "demo.toml"))
    name = "demo" if style == "ink" else f"demo-{style}"
    return read_run(file, [f'name="{name}"', f'data.shipped="{style}"', f"output.dates={str(dates).lower()}"])


def _show_recipe(config: RunConfig) -> None:
    from snrlab.lab.figures.chart import emphasis_chart
    from snrlab.lab.tables import describe
    from snrlab.model_files.resolve import resolve_to_show

    recipe = resolve_to_show(config).recipe
    can_show = (sys.stderr.encoding or "").lower().startswith("utf")
    logger.info(f"\n{describe(recipe)}. Where the training effort goes:\n")
    logger.info(emphasis_chart(recipe, unicode=can_show) + "\n")


def _summary(folder: RunFolder, config: RunConfig, evaluation: Evaluation) -> str:
    from snrlab.lab.blocks import columns
    from snrlab.lab.report import change_by_band
    from snrlab.runs.logs import read_validation

    model, lora = evaluation.rows
    measured = [
        (name, str(model.measures[name]), str(value), str(lora.change[name])) for name, value in lora.measures.items()
    ]
    bands = change_by_band(list(read_validation(folder.validation_file)))
    heading = ("", "without the LoRA", "with it", "change")
    result = folder.result(config)
    started_as = Path(sys.argv[0])  # .venv/bin/snrlab, or the module's file by python -m snrlab
    by_path = "python -m snrlab" if started_as.suffix == ".py" else started_as.as_posix()
    snrlab = "snrlab" if shutil.which("snrlab") else by_path
    return "\n".join(
        [
            "",
            f"{evaluation.count} pictures of concepts that the LoRA never saw, against the true pictures "
            "(95 % intervals):",
            columns([heading, *measured]),
            "",
            f"Unweighted loss on {config.validation.images} images of the style that it never saw:",
            columns([heading, *((f"epsilon error, {name}", *map(str, row)) for name, row in bands.items())]),
            "",
            f"report  {folder.report}\nLoRA    {result}",
            "",
            "Next:",
            f"  {snrlab} sample {folder.path.as_posix()} --strength 0 --strength 0.5 --strength 1",
            f"  {snrlab} evaluate {folder.path.as_posix()} --style {evaluation.style}",
            f"  {snrlab} train {folder.config_file.as_posix()} --set \"recipe.weighting=['debiased']\"",
        ]
    )
