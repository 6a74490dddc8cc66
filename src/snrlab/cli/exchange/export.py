"""`snrlab export`: a run file as settings of another trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from snrlab.cli.messages import tell, wrote


def export_command(
    run: Annotated[Path, typer.Argument(help="Run file, or run folder.")],
    to: Annotated[str, typer.Option("--to", help="kohya or onetrainer.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File to write; by default beside the run file. None is replaced."),
    ] = None,
) -> None:
    """Write a run file's settings for kohya's sd-scripts (TOML) or OneTrainer (JSON), and say what they cannot hold.

    Example: snrlab export run.toml --to kohya
    """
    from snrlab.cli.output_files import free_path, put
    from snrlab.config.load import read_run
    from snrlab.peers.exporting import dataset_toml, onetrainer_json, to_toml
    from snrlab.peers.exporting import export_settings as exported_run
    from snrlab.peers.run_file_writer import tail

    file = run / "run.toml" if run.is_dir() and (run / "run.toml").is_file() else run
    exported = exported_run(read_run(file), to)
    wanted = out or file.with_name(f"{file.stem}-{to}.{'json' if to == 'onetrainer' else 'toml'}")
    path = free_path(wanted)
    options, written = dict(exported.options), [path]
    if exported.dataset is not None:
        dataset = free_path(path.with_name(f"{path.stem}-images.toml"))
        put(dataset, dataset_toml(exported.dataset).encode())
        options["dataset_config"] = dataset.name
        written.append(dataset)
    if exported.prompts and to == "kohya":
        prompts = free_path(path.with_name(f"{path.stem}-prompts.txt"))
        put(prompts, ("\n".join(exported.prompts) + "\n").encode())
        options["sample_prompts"] = prompts.name
        written.append(prompts)
    if to == "kohya":
        from dataclasses import replace

        head = [f"From {file.name} by snrlab export, for {exported.script}."]
        put(path, to_toml(replace(exported, options=options), head).encode())
    else:
        put(path, onetrainer_json(exported).encode())
    tell(f"for {exported.script}; {len(exported.options)} settings.")
    tell("\n".join([*tail(exported.left), ""]))
    wrote(*written)
