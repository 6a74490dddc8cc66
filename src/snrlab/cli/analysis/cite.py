"""`snrlab cite`: BibTeX for the methods in use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def cite_command(
    source: Annotated[
        str,
        typer.Argument(
            help='A file or run that `explain` reads, or a recipe such as "min_snr debiased".', metavar="SOURCE"
        ),
    ],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write to this file instead of the terminal.")] = None,
) -> None:
    """Write BibTeX for exactly the works whose methods a configuration or recipe uses, and for snrlab.

    Example: snrlab cite run.toml -o methods.bib
    """
    from snrlab.cli.output_files import refuse_existing, write_and_report
    from snrlab.lab.cite import cite, to_bibtex

    refuse_existing(("--out", out))
    text = to_bibtex(cite(source))
    if out is None:
        typer.echo(text)
    else:
        write_and_report(out, f"{text}\n".encode())
