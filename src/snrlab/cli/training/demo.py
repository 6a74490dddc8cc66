"""`snrlab demo`: train LoRAs with two recipes and compare what they draw, on what ships with the package."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snrlab.cli.run_folders import RUNS
from snrlab.cli.training.train import INTERRUPTED, NoDatesOption, OutOption, run_training

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from snrlab.config import RunConfig
    from snrlab.evaluate.evaluation import Evaluation
    from snrlab.runs.folder import RunFolder

# the two recipes by the names that people know, and the weighting of each
RECIPES = {"Min-SNR-5": '{name="min_snr", gamma=5.0}', "Debiased": '"debiased"'}


def demo_command(
    out: OutOption = RUNS,
    no_dates: NoDatesOption = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a demo that was stopped.")] = False,
) -> None:
    """Train two LoRAs of a drawing style that differ in one setting, and compare them: two minutes on two cores.

    The base model is the small one that ships with snrlab; nothing is downloaded. The runs go into DIR/demo-min-snr-5
    and DIR/demo-debiased; the report.html of each shows pictures and numbers without and with the LoRA.
    """
    from snrlab.config.wrong_file import shell_quoted

    logger.info("snrlab demo: two LoRAs of a drawing style on the small model that ships; about two minutes")
    folders = {}
    for recipe, config in demo_configs(dates=not no_dates).items():
        logger.info(f"\n{recipe}")
        _show_recipe(config)
        outcome = run_training(config, out, resume=resume)
        if not outcome.finished:
            place = "" if out == RUNS else f" --out {shell_quoted(out)}"
            logger.warning(f"To go on with the whole demo and its pictures:\n  {_started_as()} demo --resume{place}")
            sys.exit(INTERRUPTED)
        folders[recipe] = outcome.folder
    from snrlab.evaluate.demo_report import showcase

    logger.info("\ndrawing the same prompts from the same noise, without a LoRA and with each ...")
    typer.echo(_summary(folders, showcase(folders)))


def demo_configs(*, dates: bool = True) -> dict[str, RunConfig]:
    """The demo's runs by the names of their recipes; they differ in the weighting alone."""
    from snrlab.config import read_run

    file = Path(str(resources.files("snrlab.cli.training") / "demo.toml"))
    return {
        recipe: read_run(
            file,
            [
                f'name="demo-{recipe.lower()}"',
                f"recipe.weighting=[{weighting}]",
                f"output.dates={str(dates).lower()}",
            ],
        )
        for recipe, weighting in RECIPES.items()
    }


def _show_recipe(config: RunConfig) -> None:
    from snrlab.lab.figures.chart import emphasis_chart
    from snrlab.lab.tables import describe
    from snrlab.model_files.resolve import resolve_to_show

    recipe = resolve_to_show(config).recipe
    can_show = (sys.stderr.encoding or "").lower().startswith("utf")
    logger.info(f"{describe(recipe)}. Where the training goes:\n")
    logger.info(emphasis_chart(recipe, unicode=can_show) + "\n")


def _summary(folders: Mapping[str, RunFolder], evaluations: Mapping[str, Evaluation]) -> str:
    from snrlab.lab.blocks import columns, to_text
    from snrlab.lab.run_comparison.run_comparison import compare_runs
    from snrlab.lab.run_comparison.run_text import answer_blocks

    first = next(iter(evaluations.values()))
    bare = first.rows[0].measures
    measured = [
        (name, str(value), *(str(evaluation.rows[1].measures[name]) for evaluation in evaluations.values()))
        for name, value in bare.items()
    ]
    paths = [folder.path.as_posix() for folder in folders.values()]
    comparison = compare_runs([f"{recipe} = {path}" for recipe, path in zip(folders, paths, strict=True)])
    snrlab = _started_as()
    last = list(folders.values())[-1]
    return "\n".join(
        [
            "",
            f"{first.count} pictures of things outside the training set, against the true pictures (95 % intervals):",
            columns([("", "without a LoRA", *folders), *measured]),
            "",
            to_text(answer_blocks(comparison)),
            "",
            *(f"{name:8}{value}" for name, value in _files(folders).items()),
            "",
            "Next:",
            f"  {snrlab} open {paths[0]}",
            f"  {snrlab} compare {' '.join(paths)} -o compare.html",
            f"  {snrlab} sample {last.path.as_posix()} --strength 0 --strength 0.5 --strength 1",
        ]
    )


def _files(folders: Mapping[str, RunFolder]) -> dict[str, object]:
    first = next(iter(folders.values()))
    return {"picture": first.comparison_file, "report": first.report, "LoRA": first.result(first.read_config())}


def _started_as() -> str:
    """The command by which the user can call snrlab again."""
    started_as = Path(sys.argv[0])  # .venv/bin/snrlab, or the module's file by python -m snrlab
    by_path = "python -m snrlab" if started_as.suffix == ".py" else started_as.as_posix()
    return "snrlab" if shutil.which("snrlab") else by_path
