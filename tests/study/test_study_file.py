"""Study files: what they mean, and every mistake named before anything is trained."""

import pytest

from snrlab.core.errors import UserError
from snrlab.study.cells import plan_cells
from snrlab.study.study_file import TWIN, parse_study

BASE = {
    "model": {"shipped": "small"},
    "data": {"folder": "pictures"},
    "train": {"steps": 40},
    "validation": {"images": 4},
}
ARMS = {"plain": {}, "min-snr-5": {"recipe": {"weighting": "min_snr:gamma=5"}}, "debiased": "debiased"}


def study(**fields):
    return parse_study({"base": "run.toml", "arms": ARMS, **fields})


def cells(**fields):
    return plan_cells(study(**fields), BASE)


def test_every_arm_has_every_seed_and_the_twin_other_noise():
    planned = cells(seeds=2)
    assert [(cell.arm, cell.seed) for cell in planned] == [
        (arm, seed) for seed in (1, 2) for arm in ("plain", TWIN, "min-snr-5", "debiased")
    ]
    by_name = {cell.name: cell.config for cell in planned}
    assert len(by_name) == 8
    plain, twin = by_name["plain--seed-2"], by_name["twin--seed-2"]
    assert plain.seed == twin.seed == 2
    assert plain.seed_of_steps == 2
    assert twin.seed_of_steps not in range(1000)
    assert plain.recipe == twin.recipe
    assert [w.name for w in by_name["min-snr-5--seed-1"].recipe.weighting] == ["min_snr"]
    assert [w.name for w in by_name["debiased--seed-1"].recipe.weighting] == ["debiased"]


def test_a_cell_is_measured_ten_times_and_at_half_of_its_steps():
    assert cells()[0].config.validation.every == 4


def test_the_questions_are_those_stated_or_the_first_arms():
    assert [(c.arm, c.against, c.metric) for c in study().primary] == [
        ("min-snr-5", "plain", "held_out_loss"),
        ("debiased", "plain", "held_out_loss"),
    ]
    stated = study(contrasts=[{"arm": "debiased", "against": "min-snr-5", "metric": "held_out_loss_1"}])
    assert [(c.arm, c.against, c.metric) for c in stated.primary] == [("debiased", "min-snr-5", "held_out_loss_1")]


def test_a_recipe_on_one_line_leaves_the_rest_to_the_model():
    base = BASE | {"model": {"shipped": "small_v"}}
    planned = plan_cells(study(), base)
    assert next(c for c in planned if c.arm == "debiased").config.recipe.prediction_type is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sedes": 3}, "Did you mean 'seeds'"),
        ({"arms": {"plain": {}}}, "at least two arms"),
        ({"arms": {**ARMS, "twin": "p2"}}, "'twin' is the name of the arm that every study adds"),
        ({"arms": {**ARMS, "a b": "p2"}}, "arms"),
        ({"seeds": 1}, "at least two different training seeds"),
        ({"seeds": [3, 3]}, "at least two different training seeds"),
        ({"baseline": "plian"}, "Did you mean 'plain'"),
        ({"margin": 0.0}, "margin is 0.0; it must be > 0"),
        ({"contrasts": [{"arm": "debias"}]}, "Did you mean 'debiased'"),
        ({"contrasts": [{"arm": "debiased", "against": "debiased"}]}, "compared with itself"),
        ({"contrasts": [{"arm": "plain"}]}, "compared with itself"),
        ({"contrasts": [{"arm": "debiased"}] * 4}, "at most 3"),
        ({"contrasts": [{"arm": "debiased", "metric": "held_out_los"}]}, "Did you mean 'held_out_loss'"),
    ],
)
def test_mistakes_in_the_study(fields, message):
    with pytest.raises(UserError) as refused:
        study(**fields)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ({}, "arms.new is the same run as arms.plain"),
        ("debiased", "arms.new is the same run as arms.debiased"),
        ("min_snrr", "Did you mean 'min_snr'"),
        ({"recipe": {"wieghting": "p2"}}, "Did you mean 'weighting'"),
        ({"seed": 3}, "arms.new: seed is decided by the study"),
        ({"output": {"dates": True}}, "arms.new: output.dates is decided by the study"),
        ({"train": {"steps": 0}}, "arms.new: train.steps is 0"),
    ],
)
def test_mistakes_in_an_arm(arm, message):
    with pytest.raises(UserError) as refused:
        cells(arms={**ARMS, "new": arm})
    assert message in str(refused.value)


def test_a_base_that_measures_nothing_is_refused():
    with pytest.raises(UserError, match="nothing is measured"):
        plan_cells(study(), {key: value for key, value in BASE.items() if key != "validation"})
