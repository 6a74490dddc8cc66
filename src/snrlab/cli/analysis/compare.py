"""`snrlab compare`: recipes and configurations side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from snrlab.cli.choices import DOCUMENTS, one_of
from snrlab.cli.output_files import output_format, refuse_existing, write_and_report

_PANELS = ("weight_epsilon", "emphasis")


def compare_command(
    sources: Annotated[
        list[str],
        typer.Argument(
            help='Two or more: files and runs that `explain` reads, or recipes such as "v_prediction min_snr:gamma=5"; '
            'each may be "Name = ...".',
            metavar="SOURCE|RECIPE...",
        ),
    ],
    format: Annotated[str | None, one_of(DOCUMENTS, help="Output format; by default from the ending of --out.")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write to this file instead of the terminal.")] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Also write a figure: PNG, SVG, HTML or CSV file.", metavar="FILE")
    ] = None,
) -> None:
    """Compare where effort goes, how far apart it is, and what the same learning rate means.

    Everything is relative to the first. A trainer's file stands for what that trainer really computes; a file alone is
    compared with what was probably meant.

    Example: snrlab compare config.toml "min_snr:gamma=5"
    """
    from snrlab.lab import blocks
    from snrlab.lab.comparison import compare_text
    from snrlab.lab.comparison.compare import compare, comparison_as_data

    form = output_format(format, out)
    refuse_existing(("--out", out), ("--figure", figure))
    comparison = compare(sources)
    recipes = {member.label: member.recipe for member in comparison.members}
    panels = [*(["density"] if len({str(m.tables.p) for m in comparison.members}) > 1 else []), *_PANELS]
    title = compare_text.comparison_title(comparison)
    match form:
        case "json":
            text = json.dumps(comparison_as_data(comparison), indent=1)
        case "md":
            text = blocks.to_markdown(title, compare_text.comparison_blocks(comparison))
        case "html":
            from snrlab.lab.figures.plots import draw_figure, figure_bytes

            svg = figure_bytes(
                draw_figure({m.label: m.tables for m in comparison.members}, panels, log_weight=True), "svg"
            ).decode()
            text = blocks.to_html(title, compare_text.comparison_blocks(comparison), svg[svg.index("<svg") :])
        case _:
            text = blocks.to_text(compare_text.comparison_blocks(comparison))
    if figure is not None:
        from snrlab.cli.analysis.plot import recipes_file

        write_and_report(figure, recipes_file(recipes, figure.suffix.lower(), panels, log=True))
    if out is None:
        typer.echo(text)
    else:
        write_and_report(out, text.encode())
