"""What the maths promises for every strategy: the same network error costs the same in every prediction space."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drawing import all_of, choices, default, entry_id
from snrlab.core.perturbation import PERTURBATIONS, loss_floor
from snrlab.core.prediction import PREDICTION_TYPES, convert, gain, split, target
from snrlab.core.recipe import Recipe
from snrlab.core.schedule import SCHEDULES
from snrlab.core.timesteps.density import DENSITIES
from snrlab.core.weights.loss_weight import is_multiplier, loss_weight
from snrlab.core.weights.weighting import WEIGHTINGS

pytestmark = pytest.mark.numeric

WEIGHTS = [e for e in all_of(WEIGHTINGS) if not e.properties.multiplier]
every_weight = pytest.mark.parametrize("entry", WEIGHTS, ids=entry_id)
every_schedule = pytest.mark.parametrize("entry", all_of(SCHEDULES), ids=entry_id)
pairs = pytest.mark.parametrize(("a", "b"), [(a, b) for a in PREDICTION_TYPES for b in PREDICTION_TYPES if a != b])


def noisy(schedule, steps, rng):
    """(x0, eps, x_t, alpha, sigma) at some steps."""
    alpha, sigma = schedule.alpha[steps, None], schedule.sigma[steps, None]
    x0, eps = rng.standard_normal((2, len(steps), 64))
    return x0, eps, alpha * x0 + sigma * eps, alpha, sigma


@every_schedule
@pytest.mark.parametrize("space", PREDICTION_TYPES)
def test_oracle_and_round_trip(entry, space):
    schedule = default(entry)()
    steps = np.arange(0, schedule.num_train_timesteps, max(1, schedule.num_train_timesteps // 40))
    x0, eps, x_t, alpha, sigma = noisy(schedule, steps, np.random.default_rng(0))
    again = split(space, target(space, x0, eps, alpha, sigma), x_t, alpha, sigma)
    scale = np.maximum(1, 1 / np.minimum(alpha, sigma))
    for wanted, recovered in zip((x0, eps), again, strict=True):
        assert (np.abs(wanted - recovered) < 1e-12 * scale**2).all()


@every_schedule
@pairs
def test_gain_is_the_ratio_of_errors(entry, a, b):
    schedule = default(entry)()
    steps = np.arange(0, schedule.num_train_timesteps, max(1, schedule.num_train_timesteps // 40))
    rng = np.random.default_rng(1)
    x0, eps, x_t, alpha, sigma = noisy(schedule, steps, rng)
    wrong = target(a, x0, eps, alpha, sigma) + 0.1 * rng.standard_normal(x0.shape)
    mse_a = ((wrong - target(a, x0, eps, alpha, sigma)) ** 2).mean(1)
    mse_b = ((convert(wrong, a, b, x_t, alpha, sigma) - target(b, x0, eps, alpha, sigma)) ** 2).mean(1)
    log_snr = schedule.log_snr[steps]
    assert mse_b / mse_a == pytest.approx(gain(b, log_snr) / gain(a, log_snr), rel=1e-6)


@every_weight
@given(data=st.data())
def test_same_network_error_same_loss(entry, data):
    """One network, its output read in each space: the weighted loss must not change."""
    several = [data.draw(choices(entry)), *data.draw(st.lists(st.sampled_from(WEIGHTS), max_size=2).map(_bound))]
    schedule = data.draw(st.sampled_from([default(e)() for e in all_of(SCHEDULES)]))
    steps = np.arange(0, schedule.num_train_timesteps, max(1, schedule.num_train_timesteps // 30))
    rng = np.random.default_rng(2)
    x0, eps, x_t, alpha, sigma = noisy(schedule, steps, rng)
    guess = target("sample", x0, eps, alpha, sigma) + rng.standard_normal(x0.shape)
    losses = []
    for space in PREDICTION_TYPES:
        error = convert(guess, "sample", space, x_t, alpha, sigma) - target(space, x0, eps, alpha, sigma)
        losses.append(loss_weight(several, schedule.log_snr[steps], space) * (error**2).mean(1))
    for loss in losses[1:]:
        assert loss == pytest.approx(losses[0], rel=1e-6)


def _bound(entries):
    return [default(entry) for entry in entries]


@every_weight
def test_product_commutes_and_has_plain_epsilon_as_one(entry):
    log_snr = np.linspace(-8, 8, 33)
    one = default(entry)
    for other in map(default, WEIGHTS):
        for space in PREDICTION_TYPES:
            ab, ba = (loss_weight(pair, log_snr, space) for pair in ([one, other], [other, one]))
            assert ab == pytest.approx(ba, rel=1e-12)
        on_epsilon = [loss_weight([c], log_snr, "epsilon") for c in (one, other)]
        assert loss_weight([one, other], log_snr, "epsilon") == pytest.approx(on_epsilon[0] * on_epsilon[1], rel=1e-12)


@every_weight
def test_product_on_network_counts_the_conversion_again(entry):
    log_snr = np.linspace(-8, 8, 33)
    pair = [default(entry), default(WEIGHTS[0])]
    for space in PREDICTION_TYPES:
        ratio = loss_weight(pair, log_snr, space, "network") / loss_weight(pair, log_snr, space)
        assert ratio == pytest.approx(gain("epsilon", log_snr) / gain(space, log_snr), rel=1e-9)


@pytest.mark.parametrize("entry", all_of(WEIGHTINGS), ids=entry_id)
@pytest.mark.parametrize("space", ["v_prediction", "sample"])
def test_weights_come_from_the_rescaled_schedule(entry, space):
    recipe = Recipe(weighting=(default(entry),), prediction_type=space, zero_terminal_snr=True)
    tables = recipe.tables()
    assert tables.snr[-1] == 0
    wanted = loss_weight(recipe.weighting, recipe.noise_schedule().log_snr, space)
    assert np.array_equal(tables.weight, wanted)
    if not is_multiplier(default(entry)):
        assert np.isfinite(tables.weight).all()


@pytest.mark.parametrize("entry", all_of(WEIGHTINGS), ids=entry_id)
def test_limits_act_in_their_order(entry):
    choice = default(entry)
    raw = Recipe(weighting=(choice,), prediction_type="v_prediction").tables().weight
    low, high = np.quantile(raw, [0.2, 0.8])
    if not 0 < low < high:
        return
    tables = Recipe(weighting=(choice,), prediction_type="v_prediction", max_weight=high, min_weight=low).tables()
    assert np.array_equal(tables.weight, np.maximum(np.minimum(raw, high), low))
    tables = Recipe(
        weighting=(choice,), prediction_type="v_prediction", max_weight=high, min_weight=low, normalize=True
    ).tables()
    assert tables.weight.max() == pytest.approx(high / (tables.p @ np.clip(raw, low, high)))


@pytest.mark.parametrize("entry", all_of(PERTURBATIONS), ids=entry_id)
@pytest.mark.parametrize("space", PREDICTION_TYPES)
def test_floor_is_what_the_best_network_is_left_with(entry, space):
    """With x0 known, the best linear guess of the target from the perturbed noise leaves exactly the floor."""
    schedule = default(next(iter(all_of(SCHEDULES))))()
    gamma = default(entry)(schedule.log_snr)
    steps = np.array([0, 300, 999])
    g, a = gamma[steps], schedule.alphas_cumprod[steps]
    slope = 1 / (1 + g**2)  # E[eps | eps + g xi]
    left = (1 - slope) ** 2 + (slope * g) ** 2  # variance of eps minus that guess
    scale = {"epsilon": 1, "v_prediction": a, "sample": 0, "flow_prediction": 1}[space]
    assert loss_floor(g, a, space) == pytest.approx(scale * left, abs=1e-15)


@pytest.mark.parametrize("entry", all_of(WEIGHTINGS), ids=entry_id)
def test_constant_error_logs_the_mean_weight(entry):
    for density in map(default, all_of(DENSITIES)):
        tables = Recipe(weighting=(default(entry),), density=density).tables()
        assert tables.mean_weight == pytest.approx(float(tables.p @ tables.weight))
        assert tables.weight_share().sum() == pytest.approx(1)
        assert tables.weight_epsilon == pytest.approx(tables.weight_x0 / tables.snr)
