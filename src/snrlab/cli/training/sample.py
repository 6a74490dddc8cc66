"""`snrlab sample`: pictures from a run or a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snrlab.cli.choices import sampler_option
from snrlab.cli.early_checks import has_lora, refuse_unusable_source
from snrlab.cli.messages import report_written
from snrlab.cli.output_files import free_path
from snrlab.cli.strengths import check_finite_strength
from snrlab.cli.training.train import quiet_libraries
from snrlab.core.errors import UserError
from snrlab.core.registries.samplers import DEFAULT_SAMPLER
from snrlab.evaluate.strength import refuse_strength_without_lora

if TYPE_CHECKING:
    from PIL.Image import Image


def sample_command(
    source: Annotated[
        Path, typer.Argument(help="Run folder, model in diffusers layout, or a shipped model: small, small_v.")
    ],
    prompt: Annotated[list[str] | None, typer.Option(help="Prompt; repeat for more. A run has its own.")] = None,
    lora: Annotated[Path | None, typer.Option(help="LoRA file to apply to a model.", metavar="FILE")] = None,
    strength: Annotated[
        list[float] | None,
        typer.Option(help="LoRA strength; 0 is without it. Repeat for a table.", show_default="1"),
    ] = None,
    step: Annotated[
        list[int] | None, typer.Option(help="Step of a run whose LoRA is used; repeat for a table.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Sampler steps.", min=1, max=1000)] = 25,
    sampler: Annotated[str, sampler_option()] = DEFAULT_SAMPLER,
    guidance: Annotated[float, typer.Option(help="Classifier-free guidance; 1 is none.", min=1, max=100)] = 5.0,
    negative: Annotated[str, typer.Option(help="Negative prompt.")] = "",
    epsilon_scaling: Annotated[
        float, typer.Option(help="Divide the predicted noise by this, such as 1.005 (Epsilon Scaling).", min=0.5, max=2)
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the starting noise.", min=0)] = 0,
    resolution: Annotated[
        int | None,
        typer.Option(help="Width and height in pixels.", min=16, show_default="the run's, or the model's own"),
    ] = None,
    out: Annotated[Path, typer.Option(help="PNG to write; an existing file is kept and the new one numbered.")] = Path(
        "sample.png"
    ),
) -> None:
    """Draw a grid of pictures from a run folder, or from a model with or without a LoRA.

    Several strengths or steps give a table with one row each, from the same noise.

    Example: snrlab sample runs/demo-debiased --prompt "red apple" --strength 0 --strength 0.5 --strength 1
    """
    check_finite_strength("--strength", strength or ())
    path = free_path(out)
    refuse_unusable_source(source, lora)
    refuse_strength_without_lora(strength, has_lora=has_lora(source, lora))
    quiet_libraries()
    from snrlab.config.load import parse_section
    from snrlab.config.sections.output import SampleConfig
    from snrlab.evaluate.open_model import open_model
    from snrlab.pictures.grids import labelled, save_grid
    from snrlab.pictures.png_metadata import parameters, save_png
    from snrlab.pictures.sampling import draw_pictures
    from snrlab.progress import Throughput

    saved = open_model(source, lora, step or ())
    size = resolution or saved.resolution
    if size % 8:
        raise UserError(f"--resolution is {size}; it must be a multiple of 8.", code="wrong-size")
    prompts = list(prompt or saved.prompts)
    if not prompts:
        raise UserError('there is nothing to draw: give at least one --prompt "...".', code="nothing-to-do")
    fields = {"prompts": prompts, "steps": steps, "guidance": guidance, "negative": negative, "seed": seed}
    fields["sampler"] = sampler
    config = parse_section({**fields, "epsilon_scaling": epsilon_scaling}, SampleConfig, "sample")
    chosen = [(adapter, value) for adapter in saved.adapters or (None,) for value in strength or (1.0,)]
    rows: dict[str, list[Image]] = {}
    progress = Throughput("pictures", len(prompts) * len(chosen), verb="drew")
    for adapter, value in chosen:
        saved.use(adapter, value)
        rows[f"{adapter or saved.label}, {value:g}"] = draw_pictures(saved.pipe, config, size, drawn=progress.update)
    progress.close()
    pictures = list(rows.values())
    if len(rows) == 1:
        save_grid(pictures[0], config, path, saved.label)
    else:
        save_png(labelled(pictures, list(rows), prompts), parameters(config, (size, size), saved.label), path)
    report_written(path)
