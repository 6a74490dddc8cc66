"""`snrlab import`: a run file from another trainer's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from snrlab.cli.messages import print_unless_quiet, report_written


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
            help="Keep the trainer's own formulas, by name; or use the right ones where it departs from them.",
        ),
    ] = False,
) -> None:
    """Write a run file that does what another trainer's settings were meant to do, with the origin of each value.

    Settings without a counterpart are listed with the reason.

    Example: snrlab import my-lora.toml -o run.toml
    """
    from snrlab.cli.output_files import free_path, write_file
    from snrlab.config.wrong_file import shell_quoted
    from snrlab.data.kohya.dataset_toml import refusal
    from snrlab.peers.importing import import_source
    from snrlab.peers.run_file_writer import format_dropped

    path = free_path(out)
    imported = import_source(source, dataset, as_is=as_is, refuses=refusal)
    write_file(path, imported.written.text.encode())
    print_unless_quiet(
        f"{source.name} is {imported.interpretation.settings.kind}; "
        f"{len(imported.written.lines)} settings carried over."
    )
    changes = imported.interpretation.changes
    if changes and not as_is:
        print_unless_quiet("\n".join(["", "done as it was meant (--as-is keeps the trainer's own formulas):"]))
        print_unless_quiet("\n".join(f"  {change.text}" for change in changes))
    elif changes:
        print_unless_quiet("\n".join(["", "as it is; without --as-is this would be done otherwise:"]))
        print_unless_quiet("\n".join(f"  {change.text}" for change in changes))
    if lost := format_dropped([option for option in imported.written.dropped if option.severity == "lost"]):
        print_unless_quiet("\n".join(lost))
    if imported.missing:
        print_unless_quiet(
            "\n".join(["", "to be filled in or supplied before training:", *(f"  {m}" for m in imported.missing)])
        )
    print_unless_quiet("")
    report_written(path)
    print_unless_quiet(f"  snrlab train {shell_quoted(path)} --check    tries everything, trains nothing")
