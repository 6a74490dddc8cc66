"""Registries as mappings, and the properties that entries are registered with."""

from collections.abc import Callable, Mapping
from dataclasses import FrozenInstanceError, dataclass, field, fields, is_dataclass
from typing import Literal, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drawing import ENTRIES, REGISTRIES, entry_id, temporary_entries
from snrlab.core.errors import UserError
from snrlab.core.prediction import PREDICTION_TYPES
from snrlab.core.registries.aliases import ALIASES
from snrlab.core.registries.registry import Entry, Properties, Registry
from snrlab.core.registries.tensor_registries import OPTIMIZERS
from snrlab.core.timesteps.timestep_sampling import SAMPLINGS
from snrlab.core.weights.weighting import WEIGHTINGS
from snrlab.lab.recipe_text import SWITCHES

every_registry = pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
NAMES = {name for registry in REGISTRIES for name in registry}


@dataclass(frozen=True)
class Shape:
    corners: int


@dataclass(frozen=True)
class Every(Properties):
    """One field of each type that properties have."""

    function: Callable[[int], int]
    text: str = ""
    count: int = 0
    switch: bool = False
    side: Literal["left", "right"] = "left"
    shape: Shape | None = None
    keys: Mapping[str, str | Literal[True]] = field(default_factory=dict)


def entry_of(**properties):
    registry = Registry("thing", properties=Every)
    registry.register(paper="none", name="one", **properties)(nothing)
    return registry["one"]


def nothing(x):
    """Nothing."""


@every_registry
def test_a_registry_is_a_mapping(registry):
    assert isinstance(registry, Mapping)
    assert list(registry) == list(registry.keys()) == [entry.name for entry in registry.values()]
    assert dict(registry.items()) == {name: registry[name] for name in registry}
    assert len(registry) == len(list(registry))
    assert all(name in registry and registry.get(name) is entry for name, entry in registry.items())


@every_registry
@given(name=st.text() | st.none() | st.integers() | st.lists(st.integers()).map(tuple))
def test_a_name_that_is_not_there(registry, name):
    if name in NAMES:
        return
    assert name not in registry
    assert registry.get(name) is None
    assert registry.get(name, 1) == 1
    with pytest.raises(KeyError) as missing:
        registry[name]
    assert isinstance(missing.value, UserError)
    assert str(missing.value).startswith(f"{registry.kind}: '{name}' is not known.")
    is_long = len(registry) > 12
    listing = f"All {len(registry)} names: snrlab table --list" if is_long else f"Allowed: {', '.join(registry)}."
    assert str(missing.value).endswith(listing)


def test_the_nearest_name_is_offered():
    with pytest.raises(UserError, match=r"^weighting: 'min_snrr' is not known. Did you mean 'min_snr'\?"):
        WEIGHTINGS["min_snrr"]


@pytest.mark.parametrize(
    ("registry", "spelling", "name"),
    [(WEIGHTINGS, "minsnr", "min_snr"), (WEIGHTINGS, "Min-SNR", "min_snr"), (WEIGHTINGS, "debias", "debiased"),
     (WEIGHTINGS, "v", "v_prediction"), (SAMPLINGS, "Stratified", "stratified")],
)  # fmt: skip
def test_other_spellings_are_accepted_and_never_listed(registry, spelling, name):
    assert registry.bind(spelling) == registry.parse(spelling) == registry.bind(name)
    assert spelling not in registry


def test_every_alias_stands_for_a_name():
    names = {*NAMES, *PREDICTION_TYPES, *SWITCHES}
    assert set(ALIASES.values()) <= names
    assert not {alias for alias in ALIASES if alias in {name.replace("_", "") for name in names}}


@every_registry
def test_properties_are_typed_documented_and_frozen(registry):
    kind = registry.properties
    assert issubclass(kind, Properties)
    assert is_dataclass(kind)
    documented = "".join(base.__doc__ or "" for base in kind.__mro__)
    for declared in fields(kind):
        assert f"    {declared.name}: " in documented, "documented under Attributes"
    for entry in registry.values():
        assert type(entry.properties) is kind
        for name in get_type_hints(kind):
            with pytest.raises(FrozenInstanceError):
                setattr(entry.properties, name, None)


@every_registry
@given(data=st.data())
def test_an_unknown_property_fails_where_it_is_registered(registry, data):
    known = set(get_type_hints(registry.properties))
    name = data.draw(st.from_regex(r"\A[a-z_]{1,12}\Z").filter(lambda n: n not in {*known, "paper", "name", "formula"}))
    before = list(registry)
    with pytest.raises(TypeError) as wrong:
        registry.register(paper="none", name="new", **{name: True})(nothing)
    assert f"{registry.kind} new: property: '{name}' is not known." in str(wrong.value)
    assert all(property in str(wrong.value) for property in known or ["(it has none)"])
    assert list(registry) == before


def test_the_nearest_property_is_offered():
    with pytest.raises(TypeError, match=r"'strattified' is not known. Did you mean 'stratified'\?"):
        SAMPLINGS.register(paper="none", name="new", strattified=True)(nothing)


@pytest.mark.parametrize("entry", ENTRIES, ids=entry_id)
def test_what_an_entry_has_can_be_registered_again(entry: Entry):
    registry = Registry(entry.kind, properties=type(entry.properties))
    values = {f.name: getattr(entry.properties, f.name) for f in fields(entry.properties)}
    registry.register(paper=entry.paper, name=entry.name, **values)(entry.fn)
    assert registry[entry.name].properties == entry.properties


@pytest.mark.parametrize(
    ("name", "value"),
    [("function", 1), ("function", None), ("text", True), ("text", None), ("count", True), ("count", 1.0),
     ("switch", 1), ("switch", "yes"), ("switch", None), ("side", "up"), ("side", True), ("shape", 3), ("shape", "x"),
     ("keys", ["a"]), ("keys", {"a": False}), ("keys", {"a": 1}), ("keys", {1: "a"})],
)  # fmt: skip
def test_a_property_of_the_wrong_type_fails(name, value):
    with pytest.raises(TypeError, match=f"thing one: property {name} is .*; it must be of type "):
        entry_of(**{"function": abs, name: value})


def test_properties_of_the_right_types():
    given = {"function": abs, "text": "a", "count": 2, "switch": True, "side": "right", "shape": Shape(3)}
    given |= {"keys": {"a": "b", "c": True}}
    assert entry_of(**given).properties == Every(**given)
    assert entry_of(function=abs).properties == Every(abs)


def test_a_property_without_a_default_is_asked_for():
    with pytest.raises(TypeError, match="optimizer new: property 'state_bytes' is missing"):
        OPTIMIZERS.register(paper="none", name="new")(nothing)


def test_a_name_is_registered_once_and_with_a_docstring():
    with temporary_entries(SAMPLINGS):
        SAMPLINGS.register(paper="none", name="new")(nothing)
        with pytest.raises(ValueError, match="'new' is registered twice"):
            SAMPLINGS.register(paper="none", name="new")(nothing)
        with pytest.raises(ValueError, match="'bare' has no docstring"):
            SAMPLINGS.register(paper="none", name="bare")(lambda x: x)
    assert "new" not in SAMPLINGS
