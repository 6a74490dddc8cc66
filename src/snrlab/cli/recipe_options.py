"""The options that name a recipe, shared by the commands that show one; their help is derived."""

from __future__ import annotations

from typing import Annotated

import typer

from snrlab.core.perturbation import PERTURBATIONS
from snrlab.core.prediction import PREDICTION_TYPES
from snrlab.core.recipe import Recipe
from snrlab.core.registries.registry import Registry
from snrlab.core.schedule import SCHEDULES
from snrlab.core.timesteps.density import DENSITIES
from snrlab.core.timesteps.timestep_sampling import SAMPLINGS
from snrlab.core.weights.weighting import WEIGHTINGS

SPEC = "NAME[:k=v,...]"


def _known(registry: Registry) -> str:
    return ", ".join(
        name + (f"({', '.join(entry.parameters)})" if entry.parameters else "") for name, entry in registry.items()
    )


ScheduleOption = Annotated[str, typer.Option(help=f"Noise schedule: {_known(SCHEDULES)}.", metavar=SPEC)]
ZeroTerminalOption = Annotated[bool, typer.Option("--zero-terminal-snr", help="Rescale it to end at SNR 0.")]
PredictionOption = Annotated[
    str, typer.Option(help=f"What the network predicts: {', '.join(PREDICTION_TYPES)}.", metavar="TYPE")
]
WeightingOption = Annotated[
    list[str] | None,
    typer.Option(
        help=f"Loss weighting; repeat to multiply. {_known(WEIGHTINGS)}.", metavar=SPEC, show_default="none: plain loss"
    ),
]
ProductOnOption = Annotated[
    str,
    typer.Option(
        help="Where several weightings multiply: epsilon (relative to plain epsilon) or network (as peers do).",
        metavar="SPACE",
    ),
]
MaxWeightOption = Annotated[float | None, typer.Option(help="Upper limit of the weight on the network's own loss.")]
MinWeightOption = Annotated[float | None, typer.Option(help="Lower limit of the weight on the network's own loss.")]
NormalizeOption = Annotated[bool, typer.Option("--normalize", help="Scale the weight to mean 1 under the density.")]
DensityOption = Annotated[str, typer.Option(help=f"How often each step is drawn: {_known(DENSITIES)}.", metavar=SPEC)]
SamplingOption = Annotated[
    str, typer.Option(help=f"How steps are drawn from the density: {_known(SAMPLINGS)}.", metavar=SPEC)
]
PerturbationOption = Annotated[
    str | None, typer.Option(help=f"Input perturbation: {_known(PERTURBATIONS)}.", metavar=SPEC, show_default="none")
]


def build_recipe(
    schedule: str,
    zero_terminal_snr: bool,
    prediction: str,
    weighting: list[str] | None,
    product_on: str,
    max_weight: float | None,
    min_weight: float | None,
    normalize: bool,
    density: str,
    perturbation: str | None,
    sampling: str = "stratified",
) -> Recipe:
    """The recipe that the options name.

    Raises:
        UserError: a name, parameter or combination that does not exist.
    """
    return Recipe(
        schedule=SCHEDULES.parse(schedule),
        zero_terminal_snr=zero_terminal_snr,
        prediction_type=prediction,  # type: ignore[arg-type]  # checked by Recipe
        weighting=tuple(WEIGHTINGS.parse(spec) for spec in weighting or ()),
        product_on=product_on,  # type: ignore[arg-type]  # checked by Recipe
        max_weight=max_weight,
        min_weight=min_weight,
        normalize=normalize,
        density=DENSITIES.parse(density),
        sampling=SAMPLINGS.parse(sampling),
        perturbation=PERTURBATIONS.parse(perturbation) if perturbation else None,
    )
