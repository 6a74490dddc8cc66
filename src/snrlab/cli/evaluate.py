"""`snrlab evaluate`: how near pictures come to a shipped style, in numbers with intervals."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snrlab.cli.train import quiet_libraries
from snrlab.core.errors import UserError, unknown
from snrlab.lab.text import columns

if TYPE_CHECKING:
    from snrlab.lab.statistics import Estimate
    from snrlab.train.judging import Evaluation

SETS = ("known", "held_out")
FORMATS = ("text", "json")


def evaluate(
    source: Annotated[Path, typer.Argument(help="Run folder, diffusers folder, small or small_v, or pictures.")],
    style: Annotated[str, typer.Option(help="Shipped style the pictures should have.")] = "ink",
    concepts: Annotated[
        str, typer.Option(help="known: what the shipped base was trained on; held_out: what nothing was trained on.")
    ] = "known",
    count: Annotated[int, typer.Option(help="Number of concepts, one picture each.", min=20)] = 256,
    lora: Annotated[Path | None, typer.Option(help="LoRA file to put on a model.", metavar="FILE")] = None,
    strength: Annotated[
        list[float] | None, typer.Option(help="Strength of the LoRA; repeat for a table.", show_default="1")
    ] = None,
    step: Annotated[
        list[int] | None, typer.Option(help="Step of a run whose LoRA is measured; repeat for a table.")
    ] = None,
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
    from snrlab.config.output import SampleConfig
    from snrlab.data import emoji
    from snrlab.train.judging import choose_concepts, evaluate_folder, evaluate_pipeline, seen_in_training
    from snrlab.train.saved import open_source

    if style not in emoji.styles():
        raise unknown("--style", style, emoji.styles())
    if source.is_dir() and not (source / "run.toml").exists() and not (source / "model_index.json").exists():
        found = evaluate_folder(source, style)
    else:
        saved = open_source(source, lora, step or ())
        settings = SampleConfig(steps=steps, guidance=guidance, seed=seed)  # type: ignore[call-arg]
        chosen = choose_concepts(style, concepts, count, seen_in_training(saved))
        found = evaluate_pipeline(saved, chosen, style, settings, strength or (1.0,))
    typer.echo(json.dumps(asdict(found)) if format == "json" else as_text(found))


def as_text(found: Evaluation) -> str:
    """The evaluation as a plain table: all about one LoRA, or a line for each where there are several."""
    head = f"{found.count} pictures against the true pictures of {found.style}; 95 % intervals over concepts"
    model, *others = found.rows
    if len(others) > 1:
        table = [("", "strength", *model.measures)]
        table += [(r.name, f"{r.strength or 0:g}", *map(_short, r.measures.values())) for r in found.rows]
    elif others:
        table = [("", "with the LoRA", "without", "change")]
        measured = ((others[0].measures, model.measures, others[0].change, ""),
                    (others[0].loss, model.loss, others[0].loss_change, "epsilon error, "))  # fmt: skip
        table += [(p + k, str(v), str(b[k]), str(c[k])) for a, b, c, p in measured for k, v in a.items()]
    else:
        table = [("", "value"), *((k, str(v)) for k, v in model.measures.items())]
        table += [(f"epsilon error, {band}", str(v)) for band, v in model.loss.items()]
    return head + "\n" + columns(table)


def _short(value: Estimate) -> str:
    return f"{value.value:.3f} +- {(value.high - value.low) / 2:.3f}"
