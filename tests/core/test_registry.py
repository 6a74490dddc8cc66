"""Registries as mappings."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drawing import REGISTRIES, temporary_entries
from snrlab.core.errors import UserError
from snrlab.core.timesteps.timestep_sampling import SAMPLINGS
from snrlab.core.weights.weighting import WEIGHTINGS

every_registry = pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
NAMES = {name for registry in REGISTRIES for name in registry}


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
    assert str(missing.value).endswith(f"Allowed: {', '.join(registry)}.")


def test_the_nearest_name_is_offered():
    with pytest.raises(UserError, match=r"^weighting: 'min_snrr' is not known. Did you mean 'min_snr'\?"):
        WEIGHTINGS["min_snrr"]


def test_a_name_is_registered_once_and_with_a_docstring():
    with temporary_entries(SAMPLINGS):
        SAMPLINGS.register(paper="none", name="new")(nothing)
        with pytest.raises(ValueError, match="'new' is registered twice"):
            SAMPLINGS.register(paper="none", name="new")(nothing)
        with pytest.raises(ValueError, match="'bare' has no docstring"):
            SAMPLINGS.register(paper="none", name="bare")(lambda x: x)
    assert "new" not in SAMPLINGS
