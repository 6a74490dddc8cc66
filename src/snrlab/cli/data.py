"""`snrlab data`: what a folder of images holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from snrlab.core.errors import UserError


def data(
    folder: Annotated[Path, typer.Argument(help="Folder of images with .txt or .caption files beside them.")],
) -> None:
    """Show what training would find in a folder: images, captions, sizes, broken files.

    Exit code 2 where training would refuse it.
    """
    try:
        from snrlab.data.folder import scan

        found = scan(folder)
    except ImportError:
        raise UserError("reading images needs Pillow: pip install 'snrlab[train]'.") from None
    typer.echo(found.summary())
    if found.strays:
        shown = ", ".join(p.name for p in found.strays[:5])
        typer.echo(
            f"{len(found.strays)} caption files match no image: {shown}{', ...' if len(found.strays) > 5 else ''}"
        )
    problems = found.problems(None)
    if problems:
        raise UserError("\n".join(problems))
