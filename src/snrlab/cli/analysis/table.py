"""`snrlab table`: a recipe by timestep."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from snrlab.cli.answers import echo_blocks, paint
from snrlab.cli.choices import one_of
from snrlab.core.errors import UserError
from snrlab.core.findings.recipe_findings import findings, refuse_errors
from snrlab.core.perturbation import PERTURBATIONS
from snrlab.core.prediction import PREDICTION_TYPES
from snrlab.core.registries.registry import Registry
from snrlab.core.schedule import SCHEDULES
from snrlab.core.timesteps.density import DENSITIES
from snrlab.core.timesteps.timestep_sampling import SAMPLINGS
from snrlab.core.weights.weighting import WEIGHTINGS
from snrlab.lab.blocks import to_text

if TYPE_CHECKING:
    from snrlab.lab.recipe_source import NamedRecipe

_FORMATS = ("table", "csv", "json")
WIDE = 200  # columns, if the output is no terminal
SPEC = "NAME[:k=v,...]"


def _entry_names(registry: Registry) -> str:
    return ", ".join(
        name + (f"({', '.join(entry.parameters)})" if entry.parameters else "") for name, entry in registry.items()
    )


# long because its signature is the whole interface of the command
def table_command(
    recipe: Annotated[
        str | None,
        typer.Argument(
            help='A recipe on one line, such as "v_prediction min_snr:gamma=5", or a file or run that `explain` reads. '
            "The options below say the same, one word each.",
            metavar="RECIPE|SOURCE",
            show_default="plain",
        ),
    ] = None,
    schedule: Annotated[
        str | None, typer.Option(help=f"Noise schedule: {_entry_names(SCHEDULES)}.", metavar=SPEC, show_default="sd")
    ] = None,
    zero_terminal_snr: Annotated[
        bool, typer.Option("--zero-terminal-snr", help="Rescale the schedule to end at SNR 0.")
    ] = False,
    prediction: Annotated[
        str | None,
        typer.Option(
            help=f"What the network predicts: {', '.join(PREDICTION_TYPES)}.", metavar="TYPE", show_default="epsilon"
        ),
    ] = None,
    weighting: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Loss weighting; repeat to multiply. {_entry_names(WEIGHTINGS)}.",
            metavar=SPEC,
            show_default="none: plain loss",
        ),
    ] = None,
    product_on: Annotated[
        str | None,
        typer.Option(
            help="Where several weightings multiply: epsilon (relative to plain epsilon) or network (as other "
            "trainers do).",
            metavar="SPACE",
            show_default="epsilon",
        ),
    ] = None,
    max_weight: Annotated[
        float | None, typer.Option(help="Upper limit of the weight on the network's own loss.")
    ] = None,
    min_weight: Annotated[
        float | None, typer.Option(help="Lower limit of the weight on the network's own loss.")
    ] = None,
    normalize: Annotated[
        bool, typer.Option("--normalize", help="Scale the weight to mean 1 under the density.")
    ] = False,
    density: Annotated[
        str | None,
        typer.Option(
            help=f"How often each timestep is drawn: {_entry_names(DENSITIES)}.", metavar=SPEC, show_default="uniform"
        ),
    ] = None,
    sampling: Annotated[
        str | None,
        typer.Option(
            help=f"How timesteps are drawn from the density: {_entry_names(SAMPLINGS)}.",
            metavar=SPEC,
            show_default="stratified",
        ),
    ] = None,
    perturbation: Annotated[
        str | None,
        typer.Option(help=f"Input perturbation: {_entry_names(PERTURBATIONS)}.", metavar=SPEC, show_default="none"),
    ] = None,
    every: Annotated[
        int | None,
        typer.Option(
            help="Show every N-th timestep, with all columns.", metavar="N", show_default="25 in CSV and JSON"
        ),
    ] = None,
    at: Annotated[
        str | None, typer.Option(help="Show these timesteps, with all columns, such as 0,24,499.", metavar="T,T,...")
    ] = None,
    format: Annotated[str, one_of(_FORMATS, help="Output format.")] = "table",
    details: Annotated[bool, typer.Option("--details", help="Show all columns, and every 25th timestep.")] = False,
    list_names: Annotated[
        bool, typer.Option("--list", help="List every name that a recipe or a run file may hold, and nothing else.")
    ] = False,
) -> None:
    """Show a recipe by timestep: SNR, weight and share of training beside plain training; with --details all columns.

    Example: snrlab table "v_prediction zero_terminal_snr min_snr:gamma=5 min_weight=0.01"
    """
    if list_names:
        from snrlab.lab.recipe_text import names_by_kind

        for kind, names in names_by_kind().items():
            typer.echo(f"{kind}: {', '.join(names)}")
        return
    words = _as_words(
        schedule=schedule, zero_terminal_snr=zero_terminal_snr, prediction_type=prediction, weighting=weighting,
        product_on=product_on, max_weight=max_weight, min_weight=min_weight, normalize=normalize, density=density,
        sampling=sampling, perturbation=perturbation,
    )  # fmt: skip
    if recipe is not None and words:
        raise UserError(
            f"RECIPE is '{recipe}', and options say {' '.join(words)}: put all of it into RECIPE.",
            code="conflicting-options",
        )
    if recipe is None:  # options are never a path
        from snrlab.lab.recipe_source import read_line

        named = read_line(" ".join(words) or "plain")
    else:
        from snrlab.lab.recipe_source import read_recipes

        named = read_recipes(recipe)[0]
    _print_table(named, every, at, format, details=details)


def _as_words(**fields: str | float | bool | list[str] | None) -> list[str]:
    """The options as words of a RECIPE."""
    words = []
    for name, value in fields.items():
        if value is True:
            words.append(name)
        elif isinstance(value, list):
            words += [f"{name}={shlex.quote(spec)}" for spec in value]
        elif value is not None and value is not False:
            words.append(f"{name}={shlex.quote(str(value))}")
    return words


def _print_table(named: NamedRecipe, every: int | None, at: str | None, format: str, *, details: bool) -> None:
    from snrlab.lab import tables as lab

    recipe, assumption = named.recipe, named.assumption
    tables = recipe.tables()
    timesteps = _timesteps(every, at, len(tables.t))
    recipe_findings = findings(recipe, tables)
    refuse_errors(recipe_findings)
    if assumption:
        typer.echo(assumption, err=format != "table")
    if format == "table":
        from rich.console import Console

        console = Console(width=None if sys.stdout.isatty() else WIDE)
        typer.echo(lab.describe(recipe))
        is_brief = every is None and at is None and not details
        shown = lab.to_brief_rich(recipe, tables) if is_brief else lab.to_rich(recipe, tables, timesteps, console)
        console.print(shown)
        echo_blocks(recipe_findings)
        return
    rows = tables.rows(timesteps)
    typer.echo(lab.rows_to_json(rows) if format == "json" else lab.rows_to_csv(rows), nl=format == "json")
    for finding in recipe_findings:
        if finding.grade == "warning":
            typer.echo(to_text([finding], paint=paint), err=True)


def _timesteps(every: int | None, at: str | None, total: int) -> list[int]:
    if at is None:
        step = 25 if every is None else every
        if step < 1:
            raise UserError(f"--every is {step}; it must be a whole number >= 1.", code="out-of-range")
        return list(range(0, total, step))
    if every is not None:
        raise UserError("--every and --at exclude each other; give one of them.", code="conflicting-options")
    try:
        timesteps = [int(part) for part in at.split(",")]
    except ValueError:
        raise UserError(
            f"--at is '{at}'; write whole numbers with commas between, such as 0,24,499.", code="invalid-syntax"
        ) from None
    outside = [t for t in timesteps if not 0 <= t < total]
    if outside:
        raise UserError(
            f"--at: timestep {outside[0]} is not in the schedule; allowed are 0 to {total - 1}.", code="out-of-range"
        )
    return timesteps
