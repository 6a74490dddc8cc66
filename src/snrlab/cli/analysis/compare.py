"""`snrlab compare`: recipes and configurations against each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from snrlab.cli.choices import DOCUMENTS, one_of
from snrlab.cli.output_files import form, free, write_and_tell

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
    format: Annotated[str | None, one_of(DOCUMENTS, help="Form of the text; else by the ending of --out.")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="File to write instead of the terminal.")] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Draw it too: PNG, SVG, HTML or CSV file.", metavar="FILE")
    ] = None,
) -> None:
    """Compare where effort goes, how far apart it is, and what the same learning rate means.

    Everything is relative to the first. A trainer's file stands for what that trainer really computes; one alone is
    compared with what was meant. Example: snrlab compare config.toml "min_snr:gamma=5"
    """
    from snrlab.lab import blocks
    from snrlab.lab.comparison import compare_text
    from snrlab.lab.comparison.compare import compare as compared
    from snrlab.lab.comparison.compare import comparison_as_data

    shape = form(format, out)
    free(("--out", out), ("--figure", figure))
    found = compared(sources)
    recipes = {member.label: member.recipe for member in found.members}
    panels = [*(["density"] if len({str(m.tables.p) for m in found.members}) > 1 else []), *_PANELS]
    title = compare_text.title(found)
    match shape:
        case "json":
            text = json.dumps(comparison_as_data(found), indent=1)
        case "md":
            text = blocks.to_markdown(title, compare_text.comparison_blocks(found))
        case "html":
            from snrlab.lab.figures.plots import draw_figure, figure_bytes
            from snrlab.lab.report import CSS

            picture = figure_bytes(
                draw_figure({m.label: m.tables for m in found.members}, panels, log_weight=True), "svg"
            ).decode()
            text = blocks.to_html(title, compare_text.comparison_blocks(found), CSS, picture[picture.index("<svg") :])
        case _:
            text = blocks.to_text(compare_text.comparison_blocks(found))
    if figure is not None:
        from snrlab.cli.analysis.plot import content

        write_and_tell(figure, content(recipes, figure.suffix.lower(), panels, log=True))
    if out is None:
        typer.echo(text)
    else:
        write_and_tell(out, text.encode())
