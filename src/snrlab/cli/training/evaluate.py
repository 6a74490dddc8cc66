"""`snrlab evaluate`: how near pictures come to a shipped style, in numbers with intervals."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snrlab.cli.choices import TEXT_OR_JSON, one_of, sampler_option
from snrlab.cli.early_checks import has_lora, refuse_unusable_source
from snrlab.cli.strengths import check_finite_strength
from snrlab.cli.training.train import quiet_libraries
from snrlab.core.errors import UserError
from snrlab.core.registries.samplers import DEFAULT_SAMPLER
from snrlab.evaluate.feature_source import STYLE_CLASSIFIER, refuse_missing_features
from snrlab.evaluate.strength import refuse_strength_without_lora
from snrlab.lab.blocks import columns

if TYPE_CHECKING:
    from snrlab.evaluate.evaluation import Evaluation, Row
    from snrlab.lab.statistics import Estimate

SETS = ("known", "held_out")
_DEFAULT_STYLE = "ink"


def _styles() -> Sequence[str]:
    from snrlab.data import emoji

    return emoji.styles()


def evaluate_command(
    context: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(help="Run folder, diffusers folder, a shipped model (small, small_v), or a folder of pictures."),
    ],
    style: Annotated[
        str | None,
        one_of(
            _styles,
            help="Shipped style that the pictures should have.",
            show_default="the style that a run was trained on, else ink",
        ),
    ] = None,
    concepts: Annotated[
        str,
        one_of(SETS, help="known: what the shipped base was trained on; held_out: what nothing was trained on."),
    ] = "known",
    count: Annotated[int, typer.Option(help="Number of concepts, one picture each.", min=20)] = 256,
    lora: Annotated[Path | None, typer.Option(help="LoRA file to apply to a model.", metavar="FILE")] = None,
    strength: Annotated[
        list[float] | None, typer.Option(help="LoRA strength; repeat for a table.", show_default="1")
    ] = None,
    step: Annotated[
        list[int] | None, typer.Option(help="Step of a run whose LoRA is measured; repeat for a table.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Sampler steps.", min=1, max=1000)] = 25,
    sampler: Annotated[str, sampler_option()] = DEFAULT_SAMPLER,
    guidance: Annotated[float, typer.Option(help="Classifier-free guidance.", min=1, max=100)] = 3.0,
    seed: Annotated[int, typer.Option(help="Seed of the starting noise.", min=0)] = 0,
    features: Annotated[
        str,
        typer.Option(
            help="judge, the small network that ships; or a folder with a transformers vision model (DINOv2, CLIP, "
            "SigLIP, ViT), or a file with the weights of Inception 2015.",
            metavar="judge|PATH",
        ),
    ] = "judge",
    format: Annotated[str, one_of(TEXT_OR_JSON, help="Output format.")] = "text",
) -> None:
    """Measure pictures against the true pictures of a shipped style, by the features of a network.

    A model is measured with and without its LoRA, from the same noise, on concepts that the run was not trained on; a
    run that trained all weights, against its base model. Pictures in a folder are named after the code points of
    their concept, such as 1f34e.png. A LoRA of your own images is not measured unless you name a --style.

    Example: snrlab evaluate runs/demo-debiased --features models/dinov2-small
    """
    check_finite_strength("--strength", strength or ())
    refuse_unusable_source(source, lora, folders_of_pictures=True)
    if features != STYLE_CLASSIFIER:
        refuse_missing_features(Path(features))
    draws = not _is_folder_of_pictures(source)
    if draws:
        refuse_strength_without_lora(strength, has_lora=has_lora(source, lora))
    else:
        _refuse_drawing_options(context)
    style = style or _style_of(source, lora)
    quiet_libraries()
    from snrlab.config.load import parse_section
    from snrlab.config.sections.output import SampleConfig
    from snrlab.evaluate.evaluation import evaluate_folder, evaluate_source
    from snrlab.evaluate.features import open_net

    net = None if features == STYLE_CLASSIFIER else open_net(Path(features))
    if not draws:
        evaluation = evaluate_folder(source, style, net)
    else:
        drawing = {"steps": steps, "sampler": sampler, "guidance": guidance, "seed": seed}
        settings = parse_section(drawing, SampleConfig, "sample")
        evaluation = evaluate_source(
            source,
            style,
            settings,
            which=concepts,
            count=count,
            lora=lora,
            steps=step or (),
            strengths=strength,
            net=net,
        )
    typer.echo(json.dumps(asdict(evaluation)) if format == "json" else evaluation_text(evaluation))


def _is_folder_of_pictures(source: Path) -> bool:
    from snrlab.runs.folder import RunFolder

    return source.is_dir() and not RunFolder(source).started and not (source / "model_index.json").exists()


def _style_of(source: Path, lora: Path | None) -> str:
    """The shipped style that a source was trained on; ink for what was trained on nothing here.

    Raises:
        UserError: it was trained on images that are no shipped style, so there are no true pictures to compare with.
    """
    from snrlab.config.wrong_file import shell_quoted
    from snrlab.runs.folder import RunFolder

    folder = RunFolder(lora.parent if lora is not None else source)
    if not folder.started and lora is None:
        return _DEFAULT_STYLE
    style = folder.read_config().data.shipped if folder.started else None
    if style is None:
        path = shell_quoted(folder.path)
        subject = f"{lora or source} was not trained on a style that ships with snrlab"
        raise UserError(
            f"{subject}, so there are no true pictures to measure it against. What you can do:\n"
            f"  snrlab sample {path} --strength 0 --strength 1    to see what it changes\n"
            f"  snrlab compare {path} OTHER-RUN                    to compare it with another run\n"
            "To measure how near it comes to a shipped style all the same, name it: --style ink",
            code="nothing-to-do",
        )
    return style


def _refuse_drawing_options(context: typer.Context) -> None:
    for option in ("concepts", "count", "lora", "strength", "step", "steps", "sampler", "guidance", "seed"):
        origin = context.get_parameter_source(option)
        if origin is not None and origin.name == "COMMANDLINE":
            raise UserError(
                f"--{option} says how to draw pictures, but this folder has pictures already. Leave it out.",
                code="unused-option",
            )


def evaluation_text(evaluation: Evaluation) -> str:
    """The evaluation as a plain table: every measure of one LoRA, or a row for each of several."""
    head = f"{evaluation.count} pictures against the true pictures of {evaluation.style}; 95 % intervals over concepts"
    if evaluation.left_out is None:
        head += "\nThe LoRA lies in no run folder. It may have been trained on some of these concepts."
    model, *others = evaluation.rows
    if len(others) > 1:
        table = [("", "strength", *model.measures, "features")]
        table += [
            (
                r.name,
                "-" if r.strength is None else f"{r.strength:g}",
                *map(_short_estimate, r.measures.values()),
                _networks_of(r),
            )
            for r in evaluation.rows
        ]
    elif others:
        trained = others[0]
        table = [("", "with the LoRA" if trained.strength is not None else "trained", "without", "change", "features")]
        table += [(k, str(v), str(model.measures[k]), str(trained.change[k]), trained.features[k])
                  for k, v in trained.measures.items()]  # fmt: skip
        table += [(f"epsilon error, {k}", str(v), str(model.loss[k]), str(trained.loss_change[k]), "-")
                  for k, v in trained.loss.items()]  # fmt: skip
    else:
        table = [("", "value", "features"), *((k, str(v), model.features[k]) for k, v in model.measures.items())]
        table += [(f"epsilon error, {band}", str(v), "-") for band, v in model.loss.items()]
    return head + "\n" + columns(table)


def _networks_of(row: Row) -> str:
    nets = list(dict.fromkeys(row.features.values()))
    return nets[0] if len(nets) == 1 else f"{nets[0]}; style: judge"


def _short_estimate(value: Estimate) -> str:
    return f"{value.value:.3f} +- {(value.high - value.low) / 2:.3f}"
