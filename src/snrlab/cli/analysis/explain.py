"""`snrlab explain`: what a configuration really does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from snrlab.cli.choices import DOCUMENTS, one_of
from snrlab.cli.output_files import form, free, write_and_tell


def explain_command(
    source: Annotated[
        Path,
        typer.Argument(
            help="kohya TOML, kohya_ss JSON, LoRA_Easy TOML, OneTrainer JSON, a finished .safetensors, or a run."
        ),
    ],
    format: Annotated[str | None, one_of(DOCUMENTS, help="Form of the text; else by the ending of --out.")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="File to write instead of the terminal.")] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw it too: PNG, SVG or HTML file.", metavar="FILE")] = None,
) -> None:
    """Say what settings ask for, what that trainer really computes, where the effort goes, and what was meant.

    Nothing is loaded but the file, and of a .safetensors only its header. Example: snrlab explain my-lora.safetensors
    """
    from snrlab.lab import explain_text
    from snrlab.lab.explain import explain as explained_file
    from snrlab.lab.explain import explanation_as_data

    shape = form(format, out)
    free(("--out", out), ("--figure", figure))
    found = explained_file(source)
    recipes = {"as it is": found.understood.as_is, "as meant": found.understood.as_meant}
    if not found.understood.changes:
        del recipes["as meant"]
    drawn = {
        label + (f", from step {start}" if start else ""): stage
        for label, recipe in recipes.items()
        for start, stage in recipe.by_stage()
    }
    match shape:
        case "json":
            text = json.dumps(explanation_as_data(found), indent=1, default=str)
        case "md":
            text = explain_text.explanation_to_markdown(found)
        case "html":
            from snrlab.lab.figures.plots import draw_figure, figure_bytes
            from snrlab.lab.report import CSS

            picture = figure_bytes(
                draw_figure({k: r.tables() for k, r in drawn.items()}, ["weight", "emphasis"]), "svg"
            ).decode()
            text = explain_text.explanation_to_html(found, CSS, picture[picture.index("<svg") :])
        case _:
            text = explain_text.explanation_to_text(found)
    if figure is not None:
        from snrlab.cli.analysis.plot import content

        write_and_tell(figure, content(drawn, figure.suffix.lower(), ["snr", "weight", "emphasis"]))
    if out is None:
        typer.echo(text)
    else:
        write_and_tell(out, text.encode())
