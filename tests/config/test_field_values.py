"""Values of the run file as people read them: never what Python prints of an object."""

import pytest

from snrlab.config import parse_run
from snrlab.config.field_values import differ, field_values, value_text
from snrlab.core.registries.registry import Choice
from snrlab.core.timesteps.timestep_sampling import SAMPLINGS
from snrlab.core.weights.weighting import WEIGHTINGS
from snrlab.lab.report_parts.changed_settings import changed_settings

FROM_PYTHON = ("<", "object at", "Choice(", "Entry(", "Config(", "'", "Path(")


def run_of(**sections):
    return parse_run({"model": {"shipped": "small"}, "data": {"folder": "pictures"}} | sections)


@pytest.mark.parametrize("registry", [WEIGHTINGS, SAMPLINGS])
def test_a_strategy_is_written_as_the_command_line_takes_it(registry):
    for entry in registry.values():
        choice = registry.bind(entry.name, **{p.name: p.example for p in entry.parameters.values() if p.required})
        assert registry.parse(value_text(choice)) == choice


def test_no_value_of_a_run_is_what_python_prints_of_an_object():
    run = run_of(
        recipe={"sampling": "importance", "weighting": ["min_snr:gamma=5", "debiased"]},
        train={"steps": 7, "optimizer": "adamw"},
        data={"sets": [{"folder": "one", "repeats": 3}, {"folder": "two"}]},
        sample={"prompts": ["a cat", "a house"]},
    )
    values = [(each.field, value_text(each.value), value_text(each.default)) for each in field_values(run)]
    assert any(isinstance(each.value, Choice) for each in field_values(run))
    for field, *texts in values:
        for text in texts:
            assert not any(mark in text for mark in FROM_PYTHON), f"{field}: {text}"


def test_the_report_names_the_strategies_that_were_set_and_their_defaults():
    rows = {field: (value, default) for field, value, default in changed_settings(run_of(recipe={"sampling": "plain"}))}
    assert rows["recipe.sampling"] == ("plain", "stratified")


def test_numbers_keep_every_digit_that_tells_them_apart():
    assert value_text(0.1) == "0.1"
    assert value_text(0.1234567891) != value_text(0.1234567892)
    assert differ(0.1234567891, 0.1234567892)
