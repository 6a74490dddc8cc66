"""`snrlab init`: from a folder of images and a model to a run file with a reason at every field."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from snrlab.cli.messages import tell, wrote
from snrlab.cli.output_files import free_path, put
from snrlab.config.wrong_file import quoted
from snrlab.core.errors import UserError


def init_command(
    images: Annotated[Path | None, typer.Argument(help="Folder of images.")] = None,
    model: Annotated[
        str, typer.Option("--model", help="SD 1.5, SD 2 or SDXL model: file or folder; or small, which ships.")
    ] = "",
    preset: Annotated[str, typer.Option("--preset", help="What to train; --list shows them.")] = "style-lora",
    out: Annotated[Path, typer.Option("--out", "-o", help="Run file to write; an existing one is kept.")] = Path(
        "run.toml"
    ),
    name: Annotated[str, typer.Option("--name", help="Name of the run; by default the folder's.")] = "",
    list_: Annotated[bool, typer.Option("--list", help="Show the presets and stop.")] = False,
) -> None:
    """Write a run file from what is in a folder and what a model is.

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
        started = draft_run_file(images, model, preset, name)
    except ImportError:
        raise UserError('reading images needs Pillow: pip install "snrlab[train]".', code="missing-package") from None
    put(path, started.text.encode())
    tell("\n".join([*started.found, ""]))
    wrote(path)
    tell("\n".join(next_steps(path)))


def listing() -> str:
    """The presets: what each is for, then memory and steps by family."""
    from snrlab.config.presets import PRESET_NAMES, load_preset, names

    lines = []
    for name in names():
        preset = load_preset(name)
        memory = ", ".join(f"{PRESET_NAMES[base]} {size} GB" for base, size in preset.memory.items())
        lines += [
            f"{name}: {preset.summary}",
            f"    fits a card with: {memory}; each picture is seen {preset.views} times, "
            f"{preset.least} to {preset.most} steps",
        ]
    return "\n".join(lines)


def next_steps(path: Path) -> list[str]:
    """What to type next."""
    shown = quoted(path)
    return [f"  snrlab train {shown} --check    tries everything, trains nothing", f"  snrlab train {shown}"]
