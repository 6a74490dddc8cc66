"""`snrlab import`: a run file from settings of another trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from snrlab.core.errors import UserError


def import_(
    source: Annotated[
        Path,
        typer.Argument(help="kohya TOML, kohya_ss JSON, LoRA_Easy TOML, OneTrainer JSON, or a finished .safetensors."),
    ],
    dataset: Annotated[
        Path | None, typer.Argument(help="kohya's dataset TOML; by default the one that the source names.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Run file to write; an existing one is kept.")] = Path(
        "run.toml"
    ),
    as_is: Annotated[
        bool,
        typer.Option(
            "--as-is/--as-meant",
            help="The trainer's own formulas by their names, or the right ones where it departs from them.",
        ),
    ] = False,
) -> None:
    """Write a run file that does what settings of another trainer were meant to do, with where each value came from.

    What has no counterpart is listed with the reason. Example: snrlab import my-lora.toml -o run.toml
    """
    from snrlab.data.kohya_toml import refusal
    from snrlab.lab.exchange.importing import import_source
    from snrlab.lab.exchange.written import tail

    if not out.parent.is_dir():
        raise UserError(f"--out: there is no folder {out.parent}.")
    found = import_source(source, dataset, as_is=as_is, refuses=refusal)
    path = free_path(out)
    try:
        path.write_text(found.written.text, encoding="utf-8", newline="\n")
    except OSError as reason:
        raise UserError(f"{path} cannot be written ({reason.strerror}).") from None
    typer.echo(f"{source.name} is {found.understood.asked.kind}; {len(found.written.lines)} settings carried over.")
    changes = found.understood.changes
    if changes and not as_is:
        typer.echo("\n".join(["", "done as it was meant (--as-is keeps the trainer's own formulas):"]))
        typer.echo("\n".join(f"  {change}" for change in changes))
    elif changes:
        typer.echo("\n".join(["", "as it is; without --as-is this would be done otherwise:"]))
        typer.echo("\n".join(f"  {change}" for change in changes))
    if lost := tail([left for left in found.written.left if left.grade == "lost"]):
        typer.echo("\n".join(lost))
    if found.missing:
        typer.echo("\n".join(["", "to be named or put there before training:", *(f"  {m}" for m in found.missing)]))
    shown = f'"{path}"' if " " in str(path) else str(path)
    typer.echo("\n".join(["", f"wrote {path}", f"  snrlab train {shown} --check    tries everything, trains nothing"]))


def free_path(path: Path) -> Path:
    """The path, or the first free one with a number after its name."""
    free, number = path, 1
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free
