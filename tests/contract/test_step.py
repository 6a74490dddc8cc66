"""The training step, for every strategy: what goes into the network, what it is compared with, how it is weighted."""

import numpy as np
import pytest
import torch

import tiny
from drawing import all_of, default, entry_id
from snrlab.core import random_streams
from snrlab.core.perturbation import PERTURBATIONS
from snrlab.core.prediction import target
from snrlab.core.random_streams import data_index, inverse_cdf, stream, uniforms
from snrlab.core.recipe import Recipe
from snrlab.core.registries.tensor_registries import NOISES
from snrlab.core.timesteps.density import DENSITIES
from snrlab.core.timesteps.timestep_sampling import SAMPLINGS
from snrlab.core.weights.weighting import WEIGHTINGS
from snrlab.train.step.draws import StepRandomness
from snrlab.train.step.objective import Objective

pytestmark = pytest.mark.numeric

TRAINED = ("epsilon", "v_prediction", "sample")
SHAPE = (4, 8, 8)
TOTAL = 8
slots_of = np.arange


def objective(total=TOTAL, seed=5, **parts) -> Objective:
    recipe = Recipe(**parts)
    return Objective.of(StepRandomness(recipe, recipe.tables(), seed, total), torch.device("cpu"))


class Recorder:
    """A network that answers perfectly from the drawn noise and keeps what it was given."""

    def __init__(self, objective, x0, step, slots):
        self.objective, self.x0, self.step, self.slots = objective, x0, step, slots

    def __call__(self, x_t, t):
        alpha, sigma = (v[t].view(-1, 1, 1, 1) for v in (self.objective.alpha, self.objective.sigma))
        eps = self.objective.draws.noise(self.step, self.slots, self.x0)
        self.x_t, self.t, self.alpha, self.sigma, self.eps = x_t, t, alpha, sigma, eps
        return target(self.objective.prediction_type, self.x0, eps, alpha, sigma)


def step_of(made: Objective, step=0, slots=None):
    slots = slots_of(made.draws.total) if slots is None else slots
    x0 = torch.randn(made.draws.total, *SHAPE, generator=torch.Generator().manual_seed(1))[slots]
    oracle = Recorder(made, x0, step, slots)
    return made.losses(oracle, tiny.batch(x0), step, slots), oracle


@pytest.mark.parametrize("space", TRAINED)
@pytest.mark.parametrize("entry", [None, *all_of(PERTURBATIONS)], ids=lambda e: "none" if e is None else entry_id(e))
@pytest.mark.parametrize("shape", [None, *all_of(NOISES)], ids=lambda e: "none" if e is None else entry_id(e))
def test_only_the_input_is_perturbed(space, entry, shape):
    made = objective(prediction_type=space, perturbation=entry and default(entry), noise=shape and default(shape))
    losses, seen = step_of(made)
    assert losses.mse.max() == 0, "the target is made from the noise that was drawn, never from the perturbed one"
    extra = made.draws.extra_noise(0, slots_of(TOTAL), seen.t, seen.x0)
    assert torch.equal(seen.x_t, seen.alpha * seen.x0 + seen.sigma * (seen.eps + extra))
    assert (entry is not None) == bool(torch.as_tensor(extra).abs().max() > 0)


@pytest.mark.parametrize("entry", all_of(PERTURBATIONS), ids=entry_id)
def test_perturbation_has_the_strength_of_the_table(entry):
    made = objective(total=512, perturbation=default(entry))
    _, seen = step_of(made)
    extra = made.draws.extra_noise(0, slots_of(512), seen.t, seen.x0)
    table = made.draws.tables.ip_gamma[seen.t.numpy()]
    power = (extra**2).mean(dim=(1, 2, 3)).numpy()
    assert power.mean() == pytest.approx((table**2).mean(), rel=0.15)
    spread = np.std(power / np.maximum(table**2, 1e-12))
    if entry.properties.random_strength:
        assert spread > 0.3, "one strength per sample"
    else:
        assert spread < 0.2


@pytest.mark.parametrize("entry", [e for e in all_of(PERTURBATIONS) if "per" in e.parameters], ids=entry_id)
def test_strength_per_batch_is_one_for_all(entry):
    made = objective(perturbation=entry.bind(per="batch"))
    _, seen = step_of(made)
    extra = made.draws.extra_noise(3, slots_of(TOTAL), seen.t, seen.x0)
    xi = made.draws.extra_noise(3, slots_of(TOTAL), seen.t, seen.x0) / extra.std(dim=(1, 2, 3), keepdim=True)
    strength = (extra / xi).mean(dim=(1, 2, 3))
    assert torch.allclose(strength / strength.mean(), torch.ones(TOTAL), atol=0.15)


@pytest.mark.parametrize("entry", all_of(NOISES), ids=entry_id)
def test_noise_keeps_its_shape_and_follows_its_stream(entry):
    eps = torch.randn(*SHAPE, generator=torch.Generator().manual_seed(2))
    made = [default(entry)(eps, torch.ones(SHAPE), np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert made[0].shape == eps.shape
    assert made[0].dtype == eps.dtype
    assert torch.equal(made[0], made[1])
    assert 0.5 < float(made[0].std()) < 2


@pytest.mark.parametrize("space", TRAINED)
@pytest.mark.parametrize("entry", all_of(WEIGHTINGS), ids=entry_id)
def test_weight_is_looked_up_in_the_table(entry, space):
    made = objective(prediction_type=space, weighting=(default(entry),))
    losses, _ = step_of(made)
    wanted = made.draws.recipe.tables().weight[losses.timesteps.numpy()]
    assert losses.weight.numpy() == pytest.approx(wanted, rel=1e-6)


def test_a_network_that_says_nothing_has_loss_one():
    made = objective(total=64)
    x0 = torch.zeros(64, *SHAPE)
    losses = made.losses(lambda x_t, t: torch.zeros_like(x_t), tiny.batch(x0), 0, slots_of(64))
    assert float(losses.mse.mean()) == pytest.approx(1, abs=0.05)


def plain_if_both(density, sampling):
    """Where both would learn, which is refused, the first sampling that there is."""
    both = density.properties.learns and sampling.properties.learns
    return default(all_of(SAMPLINGS)[0] if both else sampling)


@pytest.mark.parametrize("entry", all_of(DENSITIES), ids=entry_id)
@pytest.mark.parametrize("sampling", all_of(SAMPLINGS), ids=entry_id)
def test_draws_follow_the_density(entry, sampling):
    made = objective(total=64, density=default(entry), sampling=plain_if_both(entry, sampling))
    drawn = np.concatenate([made.draws.timesteps(step, slots_of(64)).numpy() for step in range(160)])
    p = made.draws.tables.p
    edges = np.searchsorted(np.cumsum(p), np.linspace(0, 1, 11)[1:-1])
    expected = np.array([part.sum() for part in np.split(p, edges)]) * len(drawn)
    counts = np.array([len(part) for part in np.split(np.sort(drawn), np.searchsorted(np.sort(drawn), edges))])
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 28  # 9 degrees of freedom, one in a thousand; stratified draws stay far below
    assert (p[drawn] > 0).all()


@pytest.mark.parametrize("entry", all_of(SAMPLINGS), ids=entry_id)
def test_a_sampling_never_changes_the_expected_loss(entry):
    """Whatever it has learnt to draw from, each loss is multiplied by the density over that."""
    part = default(all_of(WEIGHTINGS)[-1])
    made = objective(total=64, sampling=default(entry), weighting=(part,))
    rng, slots, x0 = np.random.default_rng(0), slots_of(64), torch.zeros(64, *SHAPE)
    for _ in range(20):
        t = rng.integers(0, 1000, 64)
        made.draws.sampler.learn(t, np.exp(t / 300) * rng.random(64))
    drawn, p = made.draws.drawn(0), made.draws.tables.p
    assert drawn.p.sum() == pytest.approx(1, abs=1e-12)
    assert drawn.p * drawn.correction == pytest.approx(p, rel=1e-12)
    assert (np.abs(drawn.p / p - 1).max() > 0.1) == entry.properties.learns
    losses = made.losses(lambda x_t, t: torch.zeros_like(x_t), tiny.batch(x0), 0, slots)
    wanted = losses.weight * losses.mse * torch.from_numpy(drawn.correction)[losses.timesteps]
    assert losses.loss.numpy() == pytest.approx(wanted.numpy(), rel=1e-6)


@pytest.mark.parametrize("entry", [e for e in all_of(DENSITIES) if e.properties.learns], ids=entry_id)
def test_a_density_that_learns_is_corrected_by_nothing(entry):
    made = objective(total=64, density=default(entry))
    made.draws.sampler.learn(np.array([10, 900] * 500), np.array([9.0, 1.0] * 500))
    drawn = made.draws.drawn(0)
    assert made.draws.correction(0, torch.arange(10)) is None
    assert drawn.p.sum() == pytest.approx(1, abs=1e-12)
    assert drawn.p[10] > 2 * drawn.p[900]
    assert (drawn.p[made.draws.tables.p > 0] > 0).all()


def test_strata_are_covered_and_permuted():
    u = uniforms(0, 3, slots_of(16), 16, stratified=True)
    assert sorted((u * 16).astype(int)) == list(range(16))
    orders = {tuple((uniforms(0, step, slots_of(16), 16, stratified=True) * 16).astype(int)) for step in range(5)}
    assert len(orders) == 5
    within = uniforms(0, 3, slots_of(16), 16, stratified=True) * 16 % 1
    assert np.ptp(within) > 0.3


def test_steps_without_probability_are_never_drawn():
    p = np.array([0.0, 0.25, 0.0, 0.75, 0.0])
    assert set(inverse_cdf(p, np.linspace(0, 1, 1001)[:-1])) == {1, 3}
    assert inverse_cdf(p, np.array([np.nextafter(1, 0)])) == 3
    assert set(inverse_cdf(np.full(5, 0.2), np.linspace(0, 1, 101)[:-1])) == set(range(5)), "every other step is"


def test_streams_differ_by_all_they_depend_on():
    base = (0, "noise", 3, 5)
    others = [(1, "noise", 3, 5), (0, "perturbation", 3, 5), (0, "noise", 4, 5), (0, "noise", 3, 6)]
    value = stream(*base).random()
    assert value == stream(*base).random()
    assert all(stream(*other).random() != value for other in others)


def test_slots_have_noise_of_their_own():
    _, seen = step_of(objective())
    flat = seen.eps.flatten(1)
    correlation = torch.corrcoef(flat) - torch.eye(TOTAL)
    assert correlation.abs().max() < 0.3
    assert len(set(seen.t.tolist())) == TOTAL


@pytest.mark.parametrize("entry", [None, *all_of(PERTURBATIONS)], ids=lambda e: "none" if e is None else entry_id(e))
def test_parts_of_a_batch_are_the_batch(entry):
    made = objective(perturbation=entry and default(entry))
    whole, seen = step_of(made)
    for part in (slots_of(4), slots_of(4) + 4):
        losses, half = step_of(made, slots=part)
        assert torch.equal(losses.timesteps, whole.timesteps[part])
        assert torch.equal(half.x_t, seen.x_t[part])


@pytest.mark.parametrize("entry", all_of(WEIGHTINGS), ids=entry_id)
def test_other_recipes_see_the_same_noise(entry):
    _, plain = step_of(objective())
    _, other = step_of(objective(weighting=(default(entry),)))
    assert torch.equal(plain.x_t, other.x_t)


@pytest.mark.parametrize("size", [3, 16, 17, 1000])
def test_many_examples_are_ordered_without_a_table(size, monkeypatch):
    monkeypatch.setattr(random_streams, "MAX_TABLE_SIZE", 1)
    orders = [[data_index(0, step, 0, 1, size, bucket)[1] for step in range(2 * size)] for bucket in (0, 1)]
    for order in orders:
        assert sorted(order[:size]) == sorted(order[size:]) == list(range(size))
    if size > 3:
        assert orders[0][:size] != orders[0][size:]
        assert orders[0] != orders[1]
    if size == 1000:
        assert abs(np.corrcoef(orders[0][:size], range(size))[0, 1]) < 0.1


def test_an_epoch_visits_every_example_once():
    size, total = 7, 4
    visited = [data_index(0, step, slot, total, size) for step in range(7) for slot in range(total)]
    for epoch in range(4):
        assert sorted(index for e, index in visited if e == epoch) == list(range(size))
    assert [i for e, i in visited if e == 0] != [i for e, i in visited if e == 1]
