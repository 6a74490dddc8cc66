"""`snrlab table`: a recipe by timestep."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from snrlab.cli.recipe_options import (
    DensityOption,
    MaxWeightOption,
    MinWeightOption,
    NormalizeOption,
    PerturbationOption,
    PredictionOption,
    ProductOnOption,
    SamplingOption,
    ScheduleOption,
    WeightingOption,
    ZeroTerminalOption,
    build_recipe,
)
from snrlab.core.errors import UserError, unknown
from snrlab.core.findings.recipe_findings import findings, refuse_errors

FORMATS = ("table", "csv", "json")
WIDE = 200  # where no terminal limits it


# long because its signature is the command's whole interface
def table(
    schedule: ScheduleOption = "sd",
    zero_terminal_snr: ZeroTerminalOption = False,
    prediction: PredictionOption = "epsilon",
    weighting: WeightingOption = None,
    product_on: ProductOnOption = "epsilon",
    max_weight: MaxWeightOption = None,
    min_weight: MinWeightOption = None,
    normalize: NormalizeOption = False,
    density: DensityOption = "uniform",
    sampling: SamplingOption = "stratified",
    perturbation: PerturbationOption = None,
    every: Annotated[
        int | None, typer.Option(help="Show the steps with t % N = 0.", metavar="N", show_default="25")
    ] = None,
    at: Annotated[str | None, typer.Option(help="Show these timesteps, such as 0,24,499.", metavar="T,T,...")] = None,
    format: Annotated[str, typer.Option(help="table, csv or json.", metavar="FORMAT")] = "table",
) -> None:
    """Show a recipe by timestep: SNR, density, weight in every space, perturbation.

    Example: snrlab table --prediction v_prediction --zero-terminal-snr --weighting min_snr:gamma=5 --min-weight 0.01
    """
    from snrlab.lab import tables as lab

    recipe = build_recipe(
        schedule, zero_terminal_snr, prediction, weighting, product_on, max_weight, min_weight, normalize,
        density, perturbation, sampling,
    )  # fmt: skip
    if format not in FORMATS:
        raise unknown("--format", format, FORMATS)
    tables = recipe.tables()
    timesteps = _timesteps(every, at, len(tables.t))
    found = findings(recipe, tables)
    refuse_errors(found)
    if format == "table":
        from rich.console import Console

        console = Console(width=None if sys.stdout.isatty() else WIDE)
        typer.echo(lab.describe(recipe))
        console.print(lab.to_rich(recipe, tables, timesteps, console))
        for finding in found:
            typer.echo(str(finding))
        return
    rows = tables.rows(timesteps)
    typer.echo(lab.to_json(rows) if format == "json" else lab.to_csv(rows), nl=format == "json")
    for finding in found:
        if finding.grade == "warning":
            typer.echo(str(finding), err=True)


def _timesteps(every: int | None, at: str | None, total: int) -> list[int]:
    if at is None:
        step = 25 if every is None else every
        if step < 1:
            raise UserError(f"--every is {step}; it must be a whole number >= 1.")
        return list(range(0, total, step))
    if every is not None:
        raise UserError("--every and --at exclude each other; give one of them.")
    try:
        wanted = [int(part) for part in at.split(",")]
    except ValueError:
        raise UserError(f"--at is '{at}'; write whole numbers with commas between, such as 0,24,499.") from None
    outside = [t for t in wanted if not 0 <= t < total]
    if outside:
        raise UserError(f"--at: timestep {outside[0]} is not in the schedule; allowed are 0 to {total - 1}.")
    return wanted
