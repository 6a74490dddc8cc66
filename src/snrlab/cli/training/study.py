"""`snrlab study`: which recipe is better, over training seeds."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snrlab.cli.answers import echo_blocks
from snrlab.cli.messages import print_unless_quiet, report_written
from snrlab.core.errors import UserError
from snrlab.installation import install_command

if TYPE_CHECKING:
    from snrlab.study.study import OpenedStudy

STUDIES = Path("studies")


def study_command(
    source: Annotated[Path, typer.Argument(help="Study file, or the folder of a study.", metavar="STUDY")],
    out: Annotated[
        Path, typer.Option("--out", help="Folder in which each study gets a folder of its own.", metavar="DIR")
    ] = STUDIES,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be trained, for how long, and what it could show.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of runs to train at the same time.", show_default="one for each graphics card, or 1"
        ),
    ] = None,
    add_seeds: Annotated[
        int, typer.Option(min=0, help="Train so many more seeds. Each further verdict widens the intervals.")
    ] = 0,
) -> None:
    """Train the arms of a study over several seeds, and say which recipe is better.

    In one seed all arms share everything but the recipe. What is trained already is kept; stopped or killed, the same
    command goes on. Results, reports and runs are in DIR/NAME.

    Example: snrlab study min-snr-or-debiased.toml
    """
    from snrlab.study.report import study_verdict_blocks
    from snrlab.study.study import conclude, open_study, start, train_cells

    opened = open_study(source, out, add_seeds)
    cards = _graphics_cards()
    at_once = workers or len(cards) or 1
    _say_plan(opened, at_once)
    if dry_run:
        return
    _refuse_missing_packages()
    start(opened, source)
    failed = train_cells(opened, workers=at_once, cards=cards)
    echo_blocks(study_verdict_blocks(conclude(opened)))
    print_unless_quiet("")
    report_written(opened.folder.report)
    if failed:
        raise UserError(
            f"{len(failed)} {'cell' if len(failed) == 1 else 'cells'} failed: {', '.join(failed[:5])}. The logs are in "
            f"{opened.folder.cells}. The same command tries again.",
            code="run-failed",
        )


def _refuse_missing_packages() -> None:
    """Refuse to train cells for hours whose trainer or statistics are not installed (UserError); imports nothing."""
    for extra, packages in (("train", ("torch", "diffusers", "peft", "transformers")), ("study", ("scipy",))):
        for package in packages:
            if importlib.util.find_spec(package) is None:
                raise UserError(
                    f"a study needs {package}, which is not installed: {install_command(extra)}.",
                    code="missing-package",
                )


def _say_plan(opened: OpenedStudy, workers: int) -> None:
    from snrlab.study.study import detectable, seconds_a_cell

    study, left = opened.config, opened.to_train
    print_unless_quiet(
        f"{study.name}: {len(study.arms)} arms and the twin of {study.baseline_arm}, {len(study.seed_list)} seeds, "
        f"{len(opened.cells)} cells; {len(left)} are to be trained, {workers} at once."
    )
    for contrast in study.primary:
        print_unless_quiet(f"  Is {contrast.arm} better than {contrast.against}? Measured by {contrast.metric}.")
    seconds = seconds_a_cell(opened)
    if seconds is not None and left:
        print_unless_quiet(
            f"  About {_duration(seconds * len(left) / workers)} of training, {_duration(seconds)} a cell."
        )
    elif left:
        print_unless_quiet("  How long a cell takes is known once the first one is trained.")
    sizes = [_size(opened.folder.run(cell.name).path) for cell in opened.cells]
    known = [size for size in sizes if size]
    if left and known:
        need, free = len(left) * sum(known) / len(known), shutil.disk_usage(Path.cwd()).free
        print_unless_quiet(f"  About {need / 1e9:.2g} GB of disk; {free / 1e9:.3g} GB are free.")
    effects = detectable(opened)
    for metric, effect in effects.items():
        print_unless_quiet(
            f"  {metric}: with {len(study.seed_list)} seeds, effects from {abs(effect):.2g} % on would be seen "
            "(chance 80 %)."
        )
    if not effects:
        print_unless_quiet("  What effect could be seen is known once two seeds are trained.")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else 0


def _graphics_cards() -> list[str]:
    """The graphics cards to use, by the names that CUDA_VISIBLE_DEVICES takes."""
    from snrlab.cli.machine.graphics_card import find_cards

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name]
    return [str(index) for index in range(len(find_cards()))]
