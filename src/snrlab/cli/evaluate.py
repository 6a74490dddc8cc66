"""`snrlab evaluate`: how near pictures come to a shipped style, in numbers with intervals."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snrlab.cli.train import quiet_libraries
from snrlab.core.errors import UserError, unknown

if TYPE_CHECKING:
    from snrlab.train.judging import Evaluation

SETS = ("known", "held_out")
FORMATS = ("text", "json")


def evaluate(
    source: Annotated[Path, typer.Argument(help="Run folder, model in diffusers layout, or folder of pictures.")],
    style: Annotated[str, typer.Option(help="Shipped style the pictures should have.")] = "ink",
    concepts: Annotated[
        str, typer.Option(help="known: what the shipped base was trained on; held_out: what nothing was trained on.")
    ] = "known",
    count: Annotated[int, typer.Option(help="Number of concepts, one picture each.", min=20)] = 256,
    lora: Annotated[Path | None, typer.Option(help="LoRA file to put on a model.", metavar="FILE")] = None,
    strength: Annotated[float, typer.Option(help="Strength of the LoRA.")] = 1.0,
    steps: Annotated[int, typer.Option(help="Sampler steps.", min=1, max=1000)] = 25,
    guidance: Annotated[float, typer.Option(help="Classifier-free guidance.", min=1, max=100)] = 3.0,
    seed: Annotated[int, typer.Option(help="Seed of the starting noise.", min=0)] = 0,
    format: Annotated[str, typer.Option(help="text or json.")] = "text",
) -> None:
    """Measure pictures against the true pictures of a shipped style, by a small feature network.

    A LoRA is measured with and without, from the same noise, on concepts it was not trained on. Pictures in a
    folder are named after their concept's code points, such as 1f34e.png.
    """
    if concepts not in SETS:
        raise unknown("--concepts", concepts, SETS)
    if format not in FORMATS:
        raise unknown("--format", format, FORMATS)
    quiet_libraries()
    try:
        import torchmetrics  # noqa: F401
    except ImportError:
        raise UserError("evaluating needs torchmetrics: pip install 'snrlab[metrics]'.") from None
    from snrlab.config.run import SampleConfig
    from snrlab.data import emoji
    from snrlab.train.judging import choose_concepts, evaluate_folder, evaluate_pipeline, seen_in_training
    from snrlab.train.saved import open_source

    if style not in emoji.styles():
        raise unknown("--style", style, emoji.styles())
    if source.is_dir() and not (source / "run.toml").exists() and not (source / "model_index.json").exists():
        found = evaluate_folder(source, style)
    else:
        saved = open_source(source, lora, strength)
        settings = SampleConfig(steps=steps, guidance=guidance, seed=seed)  # type: ignore[call-arg]
        chosen = choose_concepts(style, concepts, count, seen_in_training(saved))
        found = evaluate_pipeline(saved, chosen, style, settings)
    typer.echo(json.dumps(asdict(found)) if format == "json" else as_text(found, style))


def as_text(found: Evaluation, style: str) -> str:
    """The evaluation as a plain table."""
    head = f"{found.count} pictures against the true pictures of {style}; 95 % intervals over concepts"
    rows = [("", "value", *(("without the LoRA", "change") if found.change else ()))]
    for name, value in found.measures.items():
        rows.append((name, str(value), *((str(found.without[name]), str(found.change[name])) if found.change else ())))
    for band, value in found.loss.items():
        extra = ("", str(found.loss_change[band])) if found.loss_change else ()
        rows.append((f"epsilon error, {band}", str(value), *extra))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join([head, *("  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in rows)])
