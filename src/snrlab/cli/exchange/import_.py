"""`snrlab import`: a run file from settings of another trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from snrlab.cli.messages import tell, wrote


def import_command(
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
    from snrlab.cli.output_files import free_path, put
    from snrlab.config.wrong_file import quoted
    from snrlab.data.kohya.dataset_toml import refusal
    from snrlab.peers.importing import import_source
    from snrlab.peers.run_file_writer import tail

    path = free_path(out)
    found = import_source(source, dataset, as_is=as_is, refuses=refusal)
    put(path, found.written.text.encode())
    tell(f"{source.name} is {found.understood.asked.kind}; {len(found.written.lines)} settings carried over.")
    changes = found.understood.changes
    if changes and not as_is:
        tell("\n".join(["", "done as it was meant (--as-is keeps the trainer's own formulas):"]))
        tell("\n".join(f"  {change.text}" for change in changes))
    elif changes:
        tell("\n".join(["", "as it is; without --as-is this would be done otherwise:"]))
        tell("\n".join(f"  {change.text}" for change in changes))
    if lost := tail([left for left in found.written.left if left.grade == "lost"]):
        tell("\n".join(lost))
    if found.missing:
        tell("\n".join(["", "to be named or put there before training:", *(f"  {m}" for m in found.missing)]))
    tell("")
    wrote(path)
    tell(f"  snrlab train {quoted(path)} --check    tries everything, trains nothing")
