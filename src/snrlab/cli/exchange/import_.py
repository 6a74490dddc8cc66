"""`snrlab import`: a run file from another trainer's settings."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from snrlab.cli.messages import print_unless_quiet, report_written
from snrlab.config.run_file_text import LINE_WIDTH


def import_command(
    source: Annotated[
        Path,
        typer.Argument(help="kohya TOML, kohya_ss JSON, LoRA_Easy TOML, OneTrainer JSON, or a finished .safetensors."),
    ],
    dataset: Annotated[
        Path | None, typer.Argument(help="kohya's dataset TOML; by default the one that the settings name.")
    ] = None,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Run file to write; beside an existing one the new name gets a number."),
    ] = Path("run.toml"),
    as_is: Annotated[
        bool,
        typer.Option(
            "--as-is/--as-meant",
            help="Keep the trainer's own formulas; or use those of the methods that the settings name.",
        ),
    ] = False,
) -> None:
    """Turn another trainer's settings into a run file that does what they were meant to do.

    Each value has a comment that says where it came from. Options that have no counterpart are listed with the reason.

    Example: snrlab import my-lora.toml -o run.toml
    """
    from snrlab.cli.exchange.obstacles import find_obstacles
    from snrlab.cli.output_files import free_path, write_file
    from snrlab.config.wrong_file import shell_quoted
    from snrlab.data.kohya.dataset_toml import refusal
    from snrlab.peers.importing import MISSING_PATH, import_source
    from snrlab.peers.run_file_writer import format_dropped

    path = free_path(out)
    imported = import_source(source, dataset, as_is=as_is, refuses=refusal)
    write_file(path, imported.written.text.encode())
    written, interpretation = imported.written, imported.interpretation
    print_unless_quiet(f"{source.name} is {interpretation.settings.kind}.")
    print_unless_quiet(f"{written.counts} {'All are' if written.dropped else 'It is'} listed in {path.name}.")
    heading = (
        "Without --as-is, these formulas would be replaced:"
        if as_is
        else "Replaced by what was meant (--as-is keeps the trainer's own formulas):"
    )
    _print_list(heading, [change.text for change in interpretation.changes])
    if lost := format_dropped([option for option in written.dropped if option.severity == "lost"]):
        print_unless_quiet("\n".join(lost))
    doubled = [finding for finding in interpretation.findings if finding.code == "weights_multiply"]
    _print_list("Check before training:", [f"recipe.weighting: {f.in_full} [{f.code}]" for f in doubled])
    _print_list("Fill in before training:", [f"{text} [{MISSING_PATH}]" for text in imported.missing])
    _print_list("Training will stop at:", [str(obstacle) for obstacle in find_obstacles(imported)])
    print_unless_quiet("")
    report_written(path)
    print_unless_quiet(f"  snrlab train {shell_quoted(path)} --check    tries everything, trains nothing")
    print_unless_quiet(f"  snrlab train {shell_quoted(path)}            trains")


def _print_list(heading: str, entries: Sequence[str]) -> None:
    """Print a heading with its entries, wrapped; nothing where there are none."""
    if entries:
        wrapped = (
            line
            for entry in entries
            for line in textwrap.wrap(
                entry, LINE_WIDTH, initial_indent="  ", subsequent_indent="    ", break_long_words=False,
                break_on_hyphens=False,
            )
        )  # fmt: skip
        print_unless_quiet("\n".join(["", heading, *wrapped]))
