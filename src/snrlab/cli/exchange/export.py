"""`snrlab export`: a run file as settings of another trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from snrlab.cli.messages import print_unless_quiet, report_written


def export_command(
    run: Annotated[Path, typer.Argument(help="Run file, or run folder.")],
    to: Annotated[str, typer.Option("--to", help="kohya or onetrainer.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File to write; by default next to the run file. An existing file is kept."),
    ] = None,
) -> None:
    """Write a run file as settings of kohya's sd-scripts (TOML) or OneTrainer (JSON), and list what does not fit.

    Example: snrlab export run.toml --to kohya
    """
    from snrlab.cli.output_files import free_path, write_file
    from snrlab.config.load import read_run
    from snrlab.peers.exporting import dataset_toml, export_settings, onetrainer_json, to_toml
    from snrlab.peers.run_file_writer import format_dropped
    from snrlab.runs.folder import RunFolder

    folder = RunFolder(run)
    file = folder.config_file if folder.started else run
    exported = export_settings(read_run(file), to)
    out_path = out or file.with_name(f"{file.stem}-{to}.{'json' if to == 'onetrainer' else 'toml'}")
    path = free_path(out_path)
    options, paths = dict(exported.options), [path]
    if exported.dataset is not None:
        dataset = free_path(path.with_name(f"{path.stem}-images.toml"))
        write_file(dataset, dataset_toml(exported.dataset).encode())
        options["dataset_config"] = dataset.name
        paths.append(dataset)
    if exported.prompts and to == "kohya":
        prompts = free_path(path.with_name(f"{path.stem}-prompts.txt"))
        write_file(prompts, ("\n".join(exported.prompts) + "\n").encode())
        options["sample_prompts"] = prompts.name
        paths.append(prompts)
    if to == "kohya":
        from dataclasses import replace

        head = [f"From {file.name} by snrlab export, for {exported.script}."]
        write_file(path, to_toml(replace(exported, options=options), head).encode())
    else:
        write_file(path, onetrainer_json(exported).encode())
    print_unless_quiet(f"for {exported.script}; {len(exported.options)} settings.")
    print_unless_quiet("\n".join([*format_dropped(exported.dropped), ""]))
    report_written(*paths)
