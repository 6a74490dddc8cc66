"""`snrlab sample`: pictures from a run or a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from snrlab.cli.train import quiet_libraries
from snrlab.core.errors import UserError


def sample(
    source: Annotated[Path, typer.Argument(help="Run folder, or a model in diffusers layout.")],
    prompt: Annotated[list[str] | None, typer.Option(help="Prompt; repeat for more. A run has its own.")] = None,
    lora: Annotated[Path | None, typer.Option(help="LoRA file to put on a model.", metavar="FILE")] = None,
    strength: Annotated[float, typer.Option(help="Strength of the LoRA; 0 is the model without it.")] = 1.0,
    steps: Annotated[int, typer.Option(help="Sampler steps.", min=1, max=1000)] = 25,
    guidance: Annotated[float, typer.Option(help="Classifier-free guidance; 1 is none.", min=1, max=100)] = 5.0,
    negative: Annotated[str, typer.Option(help="Negative prompt.")] = "",
    seed: Annotated[int, typer.Option(help="Seed of the starting noise.", min=0)] = 0,
    resolution: Annotated[
        int | None, typer.Option(help="Pixels a side.", min=16, show_default="the run's, or the model's own")
    ] = None,
    out: Annotated[Path, typer.Option(help="PNG to write; an existing file is kept and the new one numbered.")] = Path(
        "sample.png"
    ),
) -> None:
    """Make a grid of pictures from a run folder, or from a model with or without a LoRA.

    Example: snrlab sample runs/demo --prompt "red apple" --prompt "cat face" --strength 0.8
    """
    quiet_libraries()
    from snrlab.config.run import SampleConfig
    from snrlab.train.sampling import sample as make
    from snrlab.train.sampling import save_grid
    from snrlab.train.saved import open_source

    saved = open_source(source, lora, strength)
    size = resolution or saved.resolution
    if size % 8:
        raise UserError(f"--resolution is {size}; it must be a multiple of 8.")
    prompts = prompt or saved.prompts
    if not prompts:
        raise UserError('there is nothing to draw: give at least one --prompt "...".')
    config = SampleConfig(prompts=list(prompts), steps=steps, guidance=guidance, negative=negative, seed=seed, every=0)
    path = _free(out)
    save_grid(make(saved.pipe, config, size), config, path, saved.label)
    typer.echo(f"wrote {path}")


def _free(path: Path) -> Path:
    number = 1
    free = path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    if not free.parent.is_dir():
        raise UserError(f"--out: there is no folder {free.parent}.")
    return free
