"""What every registered strategy must do. No entry is named here: a new one is tested by being registered."""

import doctest
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drawing import ENTRIES, all_of, choices, default, entry_id
from snrlab.config.sections.strategy import Strategy, as_table, entry_schema
from snrlab.core.errors import UserError
from snrlab.core.perturbation import PERTURBATIONS
from snrlab.core.prediction import PREDICTION_TYPES
from snrlab.core.recipe import Recipe
from snrlab.core.registries.registry import Properties, Registry
from snrlab.core.schedule import SCHEDULES, zero_terminal_snr
from snrlab.core.timesteps.density import DENSITIES
from snrlab.core.weights.loss_weight import is_multiplier, loss_weight
from snrlab.core.weights.weighting import WEIGHTINGS

LOG_SNR = np.linspace(-25, 25, 201)
every_entry = pytest.mark.parametrize("entry", ENTRIES, ids=entry_id)
every_weighting = pytest.mark.parametrize("entry", all_of(WEIGHTINGS), ids=entry_id)
every_density = pytest.mark.parametrize("entry", all_of(DENSITIES), ids=entry_id)


@every_entry
def test_is_documented(entry):
    assert entry.summary.endswith(".")
    assert len(entry.summary) > 20
    assert entry.paper


@every_entry
def test_doctest_holds(entry):
    if package := getattr(entry.properties, "requires", ""):  # a property of optimizers
        pytest.importorskip(package)
    finder = doctest.DocTestFinder(recurse=False)
    doctests = [t for t in finder.find(entry.fn, entry.name, globs=entry.fn.__globals__) if t.examples]
    assert doctests, "an entry shows numbers that can be checked by hand"
    for test in doctests:
        result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test)
        assert result.failed == 0


@every_weighting
def test_a_deviation_says_whose_it_is(entry):
    if peer := entry.properties.peer:
        assert peer.stated_for in PREDICTION_TYPES
        assert peer.program
        assert peer.deviates


@every_entry
def test_schema_holds_every_parameter(entry):
    schema = entry_schema(entry)
    assert set(schema["properties"]) == {"name", *entry.parameters}
    assert schema["additionalProperties"] is False
    json.dumps(schema)


@every_entry
def test_parameters_are_checked(entry):
    with pytest.raises(UserError, match="nonsense"):
        entry.bind(nonsense=1)
    for name, parameter in entry.parameters.items():
        others = {n: p.example for n, p in entry.parameters.items() if n != name}
        for wrong in ([], float("nan"), "@no-such-file" if parameter.types[0] is str else "text"):
            with pytest.raises(UserError):
                entry.bind(**others, **{name: wrong})
        for bound in parameter.bounds:
            limit = next((getattr(bound, k) for k in ("gt", "ge", "lt", "le") if hasattr(bound, k)), None)
            if limit is not None:
                beyond = limit - 1 if hasattr(bound, "gt") or hasattr(bound, "ge") else limit + 1
                with pytest.raises(UserError, match=re.escape(f"{beyond!r}")):
                    entry.bind(**others, **{name: beyond})


@pytest.mark.parametrize("entry", ENTRIES, ids=entry_id)
@given(data=st.data())
def test_text_form_round_trips(entry, data):
    choice = data.draw(choices(entry))
    registry = Registry(entry.kind, properties=Properties)
    registry.register(paper=entry.paper, name=entry.name)(entry.fn)
    assert Strategy(registry).choose(as_table(choice)).params == choice.params
    if any(isinstance(v, str) and "," in v for v in choice.params.values()):
        return  # such a text cannot be written on the command line, only as a table
    again = registry.parse(choice.spec)
    for name, value in choice.params.items():
        assert again.params[name] == (pytest.approx(value, rel=1e-11) if isinstance(value, float) else value)


@every_weighting
@given(data=st.data())
def test_weighting_is_a_weight(entry, data):
    choice = data.draw(choices(entry))
    weight = choice(LOG_SNR)
    assert weight.shape == LOG_SNR.shape
    assert weight.dtype == np.float64
    assert np.isfinite(weight).all()
    assert (weight >= 0).all()
    assert np.array_equal(choice(LOG_SNR[::7]), weight[::7]), "elementwise"
    assert np.array_equal(choice(LOG_SNR.reshape(3, 67)), weight.reshape(3, 67)), "any shape"


@every_weighting
@given(data=st.data())
def test_weight_at_zero_snr_is_the_limit(entry, data):
    choice = data.draw(choices(entry))
    for prediction_type in ("v_prediction", "sample", "flow_prediction"):
        at_zero, near = loss_weight([choice], np.array([-np.inf, -90.0]), prediction_type)
        assert not np.isnan(at_zero)
        if not is_multiplier(choice):
            assert np.isfinite(at_zero)
        if np.isfinite(at_zero):
            assert at_zero == pytest.approx(near, rel=1e-6, abs=1e-9)


@every_weighting
def test_weight_at_infinite_snr_is_not_nan(entry):
    for prediction_type in PREDICTION_TYPES:
        assert not np.isnan(loss_weight([default(entry)], np.array([np.inf]), prediction_type))


@every_density
@given(data=st.data())
def test_density_is_a_density(entry, data):
    for schedule in (default(e)() for e in all_of(SCHEDULES)):
        try:
            p = data.draw(choices(entry))(schedule)
        except UserError:  # bounds that only together are wrong, such as an empty range
            continue
        assert p.shape == schedule.snr.shape
        assert (p >= 0).all()
        assert p.sum() == pytest.approx(1, abs=1e-12)


@every_density
def test_density_knows_zero_terminal_snr(entry):
    for schedule in (default(e)() for e in all_of(SCHEDULES)):
        if schedule.path == "variance_preserving":
            p = default(entry)(zero_terminal_snr(schedule))
            assert np.isfinite(p).all()
            assert p.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("entry", all_of(PERTURBATIONS), ids=entry_id)
@given(data=st.data())
def test_perturbation_is_a_strength(entry, data):
    gamma = data.draw(choices(entry))(np.r_[LOG_SNR, -np.inf])
    assert gamma.shape == (len(LOG_SNR) + 1,)
    assert np.isfinite(gamma).all()
    assert (gamma >= 0).all()


@pytest.mark.parametrize("entry", all_of(SCHEDULES), ids=entry_id)
@given(data=st.data())
def test_schedule_is_a_schedule(entry, data):
    schedule = data.draw(choices(entry))()
    a = schedule.alphas_cumprod
    assert a.dtype == np.float64
    assert (np.diff(a) < 0).all()
    norm = schedule.alpha**2 + schedule.sigma**2
    assert np.allclose((schedule.alpha**2 / norm), a, rtol=1e-9, atol=1e-15)
    assert np.allclose(np.exp(schedule.log_snr), schedule.snr, rtol=1e-9)
    if schedule.path == "variance_preserving":
        assert np.allclose(norm, 1)
    else:
        assert np.allclose(schedule.alpha + schedule.sigma, 1)


@pytest.mark.parametrize("entry", all_of(SCHEDULES), ids=entry_id)
def test_zero_terminal_transform(entry):
    schedule = default(entry)()
    if schedule.path != "variance_preserving":
        with pytest.raises(UserError, match="variance"):
            zero_terminal_snr(schedule)
        return
    rescaled = zero_terminal_snr(schedule)
    assert rescaled.snr[-1] == 0
    assert rescaled.snr[0] == schedule.snr[0]
    assert (np.diff(rescaled.snr) < 0).all()
    assert np.array_equal(zero_terminal_snr(rescaled).snr, rescaled.snr)


@every_weighting
@given(data=st.data())
def test_normalised_weight_has_mean_one_under_any_density(entry, data):
    choice = data.draw(choices(entry))
    for density in all_of(DENSITIES):
        tables = Recipe(weighting=(choice,), density=default(density), normalize=True).tables()
        assert tables.mean_weight == pytest.approx(1, rel=1e-9)
        assert np.nansum(tables.emphasis() * np.abs(np.gradient(tables.log_snr))) == pytest.approx(1, rel=1e-9)
