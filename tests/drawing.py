"""Hypothesis strategies for the parameters of registry entries, from the bounds they declare."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from annotated_types import Ge, Gt, Le, Lt
from hypothesis import strategies as st

from snrlab.core.lr_schedules import LR_SCHEDULES
from snrlab.core.perturbation import PERTURBATIONS
from snrlab.core.registries.parameters import Parameter, TextParameter
from snrlab.core.registries.registry import Choice, Entry, Registry
from snrlab.core.registries.tensor_registries import LOSSES, NOISES, OPTIMIZERS
from snrlab.core.schedule import SCHEDULES
from snrlab.core.timesteps.density import DENSITIES
from snrlab.core.timesteps.timestep_sampling import SAMPLINGS
from snrlab.core.weights.weighting import WEIGHTINGS, WeightingProperties

REGISTRIES = (SCHEDULES, WEIGHTINGS, DENSITIES, SAMPLINGS, PERTURBATIONS, NOISES, LR_SCHEDULES, LOSSES, OPTIMIZERS)
ENTRIES = [entry for registry in REGISTRIES for entry in registry.values()]


def entry_id(entry: Entry) -> str:
    return f"{entry.kind}-{entry.name}"


def all_of(registry: Registry) -> list[Entry]:
    return list(registry.values())


def stated_for(entry: Entry[WeightingProperties]) -> str | None:
    """The prediction type that a peer's weighting is stated for; None for one of a paper."""
    return entry.properties.peer.stated_for if entry.properties.peer else None


@contextmanager
def temporary_entries(registry: Registry) -> Iterator[None]:
    """What is registered inside is taken out again at the end."""
    before = dict(registry._entries)
    try:
        yield
    finally:
        registry._entries.clear()
        registry._entries.update(before)


def default(entry: Entry) -> Choice:
    """The entry with its defaults, or the examples where it has none."""
    return entry.bind(**{name: p.example for name, p in entry.parameters.items()})


def values(parameter: Parameter) -> st.SearchStrategy:
    """Values that a parameter allows."""
    if parameter.choices:
        return st.sampled_from(parameter.choices)
    if any(isinstance(b, TextParameter) for b in parameter.bounds):
        return st.just(parameter.example)
    low = next((getattr(b, "ge", getattr(b, "gt", None)) for b in parameter.bounds if isinstance(b, Ge | Gt)), None)
    high = next((getattr(b, "le", getattr(b, "lt", None)) for b in parameter.bounds if isinstance(b, Le | Lt)), None)
    open_low, open_high = (any(isinstance(b, kind) for b in parameter.bounds) for kind in (Gt, Lt))
    if parameter.types[0] is int:
        low = (0 if low is None else low) + open_low
        high = min(1000 if high is None else high - open_high, 1000)
        strategy: st.SearchStrategy = st.integers(low, max(low, high))
    elif parameter.types[0] is bool:
        strategy = st.booleans()
    else:
        margin = 1e-3  # numbers a person would give, not the smallest float
        low = (-1e3 if low is None else low) + (margin if open_low else 0)
        high = (1e3 if high is None else high) - (margin if open_high else 0)
        strategy = st.floats(low, high)
    return st.none() | strategy if parameter.optional else strategy


def choices(entry: Entry) -> st.SearchStrategy[Choice]:
    """The entry with any parameters it allows."""
    fields = {name: values(p) for name, p in entry.parameters.items()}
    return st.fixed_dictionaries(fields).map(lambda params: entry.bind(**params))
