"""Config fields that hold a strategy, validated and described by its registry.

In TOML a strategy is a table, `{ name = "min_snr", gamma = 5 }`, or text as on the command line,
`"min_snr:gamma=5"`. Registries are read at the time of use, so entries that are registered at run
time appear in the schema.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, get_args

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from snrlab.core.errors import UserError
from snrlab.core.lr_schedules import LR_SCHEDULES, LearningRateProperties
from snrlab.core.perturbation import PERTURBATIONS, PerturbationProperties
from snrlab.core.registries.registry import Choice, Entry, Registry
from snrlab.core.registries.tensor_registries import (
    LOSSES,
    NOISES,
    OPTIMIZERS,
    LossProperties,
    NoiseProperties,
    OptimizerProperties,
)
from snrlab.core.schedule import SCHEDULES
from snrlab.core.timesteps.density import DENSITIES, DensityProperties
from snrlab.core.timesteps.timestep_sampling import SAMPLINGS, SamplingProperties
from snrlab.core.weights.weighting import WEIGHTINGS, WeightingProperties


@dataclass(frozen=True)
class Strategy:
    """Annotation of a field that holds a `Choice` from one registry."""

    registry: Registry

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validate through the registry; serialise as a table."""
        return core_schema.no_info_plain_validator_function(
            self.choose, serialization=core_schema.plain_serializer_function_ser_schema(as_table)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """JSON schema with one alternative per entry."""
        return {"oneOf": [entry_schema(entry) for entry in self.registry.values()]}

    def choose(self, value: Any) -> Choice:
        """The choice for a TOML value (UserError)."""
        if isinstance(value, Choice):
            return value
        if isinstance(value, str):
            return self.registry.parse(value)
        if isinstance(value, dict) and isinstance(value.get("name"), str):
            return self.registry.bind(value["name"], **{k: v for k, v in value.items() if k != "name"})
        raise UserError(
            f'write a table such as {{ name = "{next(iter(self.registry), "...")}" }}, not {value!r}.',
            code="wrong-type",
        )


def registry_of(field: FieldInfo) -> Registry | None:
    """The registry that a field's strategies are from, in a list of them too; None for other fields."""
    marks = [*field.metadata, *(mark for kind in get_args(field.annotation) for mark in get_args(kind)[1:])]
    return next((mark.registry for mark in marks if isinstance(mark, Strategy)), None)


def as_table(choice: Choice) -> dict[str, Any]:
    """The TOML table of a choice; parameters that are None are left out."""
    return {"name": choice.name, **{k: v for k, v in choice.params.items() if v is not None}}


def entry_schema(entry: Entry) -> dict[str, Any]:
    """JSON schema of one entry: its name as a constant, one property per parameter."""
    properties = {
        name: TypeAdapter(p.annotation).json_schema() | ({} if p.required else {"default": p.default})
        for name, p in entry.parameters.items()
    }
    return {
        "title": entry.name,
        "description": entry.summary,
        "type": "object",
        "properties": {"name": {"const": entry.name}, **properties},
        "required": ["name", *(n for n, p in entry.parameters.items() if p.required)],
        "additionalProperties": False,
    }


ScheduleField = Annotated[Choice, Strategy(SCHEDULES)]
WeightingField = Annotated[Choice[WeightingProperties], Strategy(WEIGHTINGS)]
DensityField = Annotated[Choice[DensityProperties], Strategy(DENSITIES)]
SamplingField = Annotated[Choice[SamplingProperties], Strategy(SAMPLINGS)]
PerturbationField = Annotated[Choice[PerturbationProperties], Strategy(PERTURBATIONS)]
NoiseField = Annotated[Choice[NoiseProperties], Strategy(NOISES)]
LossField = Annotated[Choice[LossProperties], Strategy(LOSSES)]
OptimizerField = Annotated[Choice[OptimizerProperties], Strategy(OPTIMIZERS)]
LearningRateField = Annotated[Choice[LearningRateProperties], Strategy(LR_SCHEDULES)]
