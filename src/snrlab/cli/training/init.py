"""`snrlab init`: a run file for a folder of images and a base model, with a reason at every field."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from snrlab.cli.messages import print_unless_quiet, report_written
from snrlab.cli.output_files import free_path, write_file
from snrlab.core.errors import UserError
from snrlab.installation import install_command


def init_command(
    images: Annotated[Path | None, typer.Argument(help="Folder of images.")] = None,
    model: Annotated[
        str, typer.Option("--model", help="Base model: file or folder of SD 1.5, SD 2 or SDXL; or small, which ships.")
    ] = "",
    preset: Annotated[str, typer.Option("--preset", help="What to train; --list shows them.")] = "style-lora",
    out: Annotated[Path, typer.Option("--out", "-o", help="Run file to write; an existing one is kept.")] = Path(
        "run.toml"
    ),
    name: Annotated[str, typer.Option("--name", help="Name of the run; by default the folder's.")] = "",
    list_: Annotated[bool, typer.Option("--list", help="Show the presets and stop.")] = False,
) -> None:
    """Write a run file for a folder of images and a base model, with a reason at every field.

    Example: snrlab init pictures --model models/sd15.safetensors --preset character-lora -o mira.toml
    """
    if list_:
        typer.echo(listing())
        return
    if images is None:
        raise UserError(
            "give a folder of images: snrlab init IMAGES --model MODEL (or --list for the presets).",
            code="missing-value",
        )
    if not model:
        raise UserError(
            "--model is missing: a .safetensors file, a folder in diffusers layout, or small.", code="missing-value"
        )
    from snrlab.init.run_file import draft_run_file

    path = free_path(out)
    try:
        draft = draft_run_file(images, model, preset, name)
    except ImportError:
        raise UserError(f"reading images needs Pillow: {install_command('train')}.", code="missing-package") from None
    write_file(path, draft.text.encode())
    print_unless_quiet("\n".join([*draft.summary, ""]))
    report_written(path)
    print_unless_quiet("\n".join(next_steps(path)))


def listing() -> str:
    """The list of presets: the purpose of each, its memory by family, and its steps."""
    from snrlab.config.presets import BASE_NAMES, load_preset, preset_names

    lines = []
    for name in preset_names():
        preset = load_preset(name)
        memory = ", ".join(f"{BASE_NAMES[base]} {size} GB" for base, size in preset.memory.items())
        lines += [
            f"{name}: {preset.summary}",
            f"    fits a card with: {memory}; each image is seen {preset.views} times, "
            f"{preset.least} to {preset.most} steps",
        ]
    return "\n".join(lines)


def next_steps(path: Path) -> list[str]:
    """The commands to type next."""
    from snrlab.config.wrong_file import shell_quoted

    run_file = shell_quoted(path)
    return [f"  snrlab train {run_file} --check    tries everything, trains nothing", f"  snrlab train {run_file}"]
