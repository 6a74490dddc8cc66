"""`snrlab cite`: BibTeX of the methods in use."""

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
    out: Annotated[Path | None, typer.Option("-o", "--out", help="File to write instead of the terminal.")] = None,
) -> None:
    """Write BibTeX of exactly the works whose methods a configuration or recipe uses, and of snrlab.

    Example: snrlab cite run.toml -o methods.bib
    """
    from snrlab.cli.output_files import free, write_and_tell
    from snrlab.lab.cite import cite as cited
    from snrlab.lab.cite import to_bibtex

    free(("--out", out))
    text = to_bibtex(cited(source))
    if out is None:
        typer.echo(text)
    else:
        write_and_tell(out, f"{text}\n".encode())
