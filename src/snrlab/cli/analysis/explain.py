"""`snrlab explain`: what a configuration really does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snrlab.cli.answers import write_answer
from snrlab.cli.choices import DOCUMENTS, one_of
from snrlab.cli.output_files import output_format, refuse_existing, write_and_report

if TYPE_CHECKING:
    from snrlab.lab.blocks import Block


def explain_command(
    source: Annotated[
        str,
        typer.Argument(
            help="kohya TOML, kohya_ss JSON, LoRA_Easy TOML, OneTrainer JSON, a finished .safetensors, a run, or a "
            'recipe such as "min_snr debiased".',
            metavar="SOURCE|RECIPE",
        ),
    ],
    format: Annotated[str | None, one_of(DOCUMENTS, help="Output format; by default from the ending of --out.")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write to this file instead of the terminal.")] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Also write a figure: PNG, SVG or HTML file.", metavar="FILE")
    ] = None,
    details: Annotated[
        bool, typer.Option("--details", help="Also give shares of loss and gradient, and statistics of the weights.")
    ] = False,
) -> None:
    """Explain what settings really do: the point, what to do, where the training goes, and what was meant.

    Only the file itself is read; of a .safetensors only the header.

    Example: snrlab explain my-lora.safetensors
    """
    from snrlab.lab import explain_text
    from snrlab.lab.explain import explain, explanation_as_data

    form = output_format(format, out)
    refuse_existing(("--out", out), ("--figure", figure))
    explanation = explain(source)
    recipes = {"as it is": explanation.interpretation.as_is, "as meant": explanation.interpretation.as_meant}
    if not explanation.interpretation.changes:
        del recipes["as meant"]
    stages = {
        label + (f", from step {start}" if start else ""): stage
        for label, recipe in recipes.items()
        for start, stage in recipe.by_stage()
    }
    answer: str | list[Block]
    match form:
        case "json":
            answer = json.dumps(explanation_as_data(explanation), indent=1, default=str)
        case "md":
            answer = explain_text.explanation_to_markdown(explanation, details=details)
        case "html":
            from snrlab.lab.figures.plots import draw_figure, figure_bytes

            svg = figure_bytes(
                draw_figure({k: r.tables() for k, r in stages.items()}, ["weight", "emphasis"]), "svg"
            ).decode()
            answer = explain_text.explanation_to_html(explanation, svg[svg.index("<svg") :], details=details)
        case _:
            answer = list(explain_text.explanation_blocks(explanation, details=details))
    if figure is not None:
        from snrlab.cli.analysis.plot import recipes_file

        write_and_report(figure, recipes_file(stages, figure.suffix.lower(), ["snr", "weight", "emphasis"]))
    write_answer(answer, out)
