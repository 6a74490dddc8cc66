"""`snrlab inspect`: what a LoRA or model file is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from snrlab.cli.choices import TEXT_OR_JSON, one_of
from snrlab.core.errors import CombinedError, UserError


def inspect_command(
    files: Annotated[
        list[Path],
        typer.Argument(help="LoRA or model files (.safetensors), or diffusers folders.", metavar="FILE..."),
    ],
    format: Annotated[str, one_of(TEXT_OR_JSON, help="Output format.")] = "text",
    norms: Annotated[bool, typer.Option("--norms", help="Also read a model's weights, for norms and NaN.")] = False,
    hashes: Annotated[
        bool, typer.Option("--hashes", help="Also compute the hashes by which programs identify the file.")
    ] = False,
    tags: Annotated[int, typer.Option(help="How many of the most frequent tags to list.", min=0, max=1000)] = 10,
) -> None:
    """Show what files are: family, prediction type, ranks, alphas, norms, metadata, which programs load them.

    Nothing in a file is executed; pickles are refused. Of a model only the header is read, of a LoRA the matrices too.

    Example: snrlab inspect my-lora.safetensors
    """
    from snrlab.cli.analysis.inspection_text import inspection_as_data, inspection_blocks
    from snrlab.lab.blocks import to_text
    from snrlab.model_files.inspection.inspection import inspect_file

    inspections, refused = [], []
    for path in files:
        try:
            inspections.append(inspect_file(path, norms=norms, hashes=hashes))
        except UserError as reason:
            if len(files) == 1:
                raise
            refused.append(reason)
    if format == "json":
        typer.echo(json.dumps([inspection_as_data(f, tags) for f in inspections], indent=1))
    else:
        typer.echo("\n\n".join(to_text(inspection_blocks(f, tags)) for f in inspections))
    if refused:
        raise CombinedError(refused)
