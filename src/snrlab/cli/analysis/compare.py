"""`snrlab compare`: recipes and configurations side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snrlab.cli.analysis.compare_runs import PictureOptions, compare_runs_document
from snrlab.cli.answers import write_answer
from snrlab.cli.choices import DOCUMENTS, one_of
from snrlab.cli.output_files import output_format, refuse_existing, write_and_report

if TYPE_CHECKING:
    from snrlab.lab.blocks import Block
    from snrlab.lab.comparison.compare import Comparison

_PANELS = ("weight_epsilon", "emphasis")


def compare_command(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Two or more: run folders, to find out which was better; or files and runs that `explain` reads and "
            'recipes such as "v_prediction min_snr:gamma=5". Each may be "Name = ...".',
            metavar="RUN|SOURCE|RECIPE...",
        ),
    ],
    format: Annotated[str | None, one_of(DOCUMENTS, help="Output format; by default from the ending of --out.")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write to this file instead of the terminal.")] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Also write a figure: PNG, SVG, HTML or CSV file.", metavar="FILE")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    pictures: Annotated[
        bool | None,
        typer.Option(
            "--pictures/--no-pictures", help="Of runs: draw pictures for the page.", show_default="with -o page.html"
        ),
    ] = None,
    prompt: Annotated[
        list[str] | None, typer.Option(help="Of runs: prompt to draw; repeat for more. By default their own.")
    ] = None,
    step: Annotated[
        list[int] | None, typer.Option(help="Of runs: step whose LoRA draws; repeat for more. By default all saved.")
    ] = None,
    strength: Annotated[
        list[float] | None,
        typer.Option(help="Of runs: LoRA strength; 0 is without it. Repeat for more.", show_default="0 and 1"),
    ] = None,
    details: Annotated[
        bool, typer.Option("--details", help="Also give distances, shares of gradient and what they are.")
    ] = False,
) -> None:
    """Show which of several runs was better, or compare recipes: where the training goes and how different that is.

    Run folders: a verdict, the loss on held-out images by noise level with intervals, the settings that differ, and
    with -o page.html pictures from the same noise. Runs that differ only in their seed count as one recipe.

    Recipes and files: everything is relative to the first. A trainer's file stands for what that trainer really
    computes; a file alone is compared with what was probably meant.

    Example: snrlab compare runs/a runs/b -o page.html
    """
    from snrlab.lab.comparison.compare import compare
    from snrlab.lab.run_comparison.run_record import are_run_folders

    form = output_format("json" if json_ else format, out)
    refuse_existing(("--out", out), ("--figure", figure))
    options = PictureOptions(pictures, prompt or (), step or (), strength or ())
    of_runs = len(sources) > 1 and are_run_folders(sources)
    if not of_runs:
        options.refuse_without_runs()
    comparison = None if of_runs and figure is None else compare(sources)
    if comparison is None or of_runs:
        document = compare_runs_document(sources, form, options, details=details)
    else:
        document = _document(comparison, form, details=details)
    if figure is not None and comparison is not None:
        from snrlab.cli.analysis.plot import recipes_file

        recipes = {member.label: member.recipe for member in comparison.members}
        write_and_report(figure, recipes_file(recipes, figure.suffix.lower(), _panels(comparison), log=True))
    write_answer(document, out)


def _document(comparison: Comparison, form: str, *, details: bool) -> str | list[Block]:
    """A comparison of recipes in one of the formats; as blocks where it is text, which a terminal colours."""
    from snrlab.lab import blocks
    from snrlab.lab.comparison import compare_text
    from snrlab.lab.comparison.compare import comparison_as_data

    title = compare_text.comparison_title(comparison)
    content = list(compare_text.comparison_blocks(comparison, details=details))
    match form:
        case "json":
            return json.dumps(comparison_as_data(comparison), indent=1)
        case "md":
            return blocks.to_markdown(title, content)
        case "html":
            from snrlab.lab.figures.plots import draw_figure, figure_bytes

            tables = {member.label: member.tables for member in comparison.members}
            svg = figure_bytes(draw_figure(tables, _panels(comparison), log_weight=True), "svg").decode()
            return blocks.to_html(title, content, svg[svg.index("<svg") :])
    return content


def _panels(comparison: Comparison) -> list[str]:
    differ = len({str(member.tables.p) for member in comparison.members}) > 1
    return [*(["density"] if differ else []), *_PANELS]
