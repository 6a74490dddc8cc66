"""What every loss, and every schedule of the learning rate, must do. No entry is named here."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from drawing import all_of, choices, default, entry_id
from snrlab import UserError
from snrlab.core.lr_schedules import LR_SCHEDULES, warmup_factor
from snrlab.core.recipe import Recipe
from snrlab.core.registries.tensor_registries import LOSSES
from snrlab.core.schedule import SCHEDULES
from snrlab.models.encoding.encode import TextEmbeddings
from snrlab.train.step.batch import Batch
from snrlab.train.step.draws import StepRandomness
from snrlab.train.step.objective import Objective

pytestmark = pytest.mark.numeric

every_loss = pytest.mark.parametrize("entry", all_of(LOSSES), ids=entry_id)
every_rate = pytest.mark.parametrize("entry", all_of(LR_SCHEDULES), ids=entry_id)
ERRORS = torch.arange(-60, 61) / 20


def bound(entry, data, schedule):
    """The loss with any parameters that may be together, or None."""
    try:
        return data.draw(choices(entry))(schedule)
    except UserError:
        return None


@every_loss
@given(data=st.data())
def test_loss_is_a_loss(entry, data):
    schedule = default(data.draw(st.sampled_from(all_of(SCHEDULES))))()
    bound_loss = bound(entry, data, schedule)
    if bound_loss is None:
        return
    assert bound_loss.threshold.shape == schedule.snr.shape
    assert np.isfinite(bound_loss.threshold).all()
    assert (bound_loss.threshold >= 0).all()
    for c in bound_loss.threshold[:: len(bound_loss.threshold) // 5]:
        loss = bound_loss.of_error(ERRORS, torch.tensor(float(c)))
        assert loss.shape == ERRORS.shape
        assert float(loss[60]) == 0, "no error, no loss"
        assert torch.allclose(loss, loss.flip(0), atol=1e-6), "even"
        assert (loss[61:].diff() > -1e-6).all(), "rising with the size of the error"
        assert loss[-1] > loss[60]


@every_loss
@given(data=st.data())
def test_gradient_is_finite_where_there_is_no_error(entry, data):
    bound_loss = bound(entry, data, SCHEDULES.bind(next(iter(SCHEDULES)))())
    if bound_loss is None:
        return
    d = torch.zeros(3, requires_grad=True)
    bound_loss.of_error(d, torch.tensor(float(bound_loss.threshold.min()))).sum().backward()
    assert torch.equal(d.grad, torch.zeros(3))


def step(entry, prediction, x0, **batch):
    """The losses of a network that predicts this, whatever it sees."""
    recipe = Recipe()
    made = Objective.of(StepRandomness(recipe, recipe.tables(), 1, len(x0)), torch.device("cpu"), default(entry))
    text = TextEmbeddings(torch.zeros(len(x0), 1, 1))
    return made.losses(lambda x_t, t: prediction, Batch(x0, text, **batch), 0, np.arange(len(x0)))


@every_loss
def test_masked_elements_have_no_gradient_and_the_rest_is_not_louder(entry):
    x0 = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(3, 1, 8, 8)
    mask[:, :, :4] = 1
    whole = torch.zeros_like(x0, requires_grad=True)
    masked = torch.zeros_like(x0, requires_grad=True)
    step(entry, whole, x0).loss.sum().backward()
    losses = step(entry, masked, x0, mask=mask)
    losses.loss.sum().backward()
    assert torch.equal(masked.grad[:, :, 4:], torch.zeros(3, 4, 4, 8))
    assert torch.equal(masked.grad[:, :, :4], whole.grad[:, :, :4]), "the mean is over all elements"
    assert torch.equal(losses.mse, step(entry, whole, x0).mse), "the unweighted loss is of the whole picture"


@every_loss
def test_a_grey_mask_is_a_factor(entry):
    x0 = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    nothing = torch.zeros_like(x0)
    grey = step(entry, nothing, x0, mask=torch.full((2, 1, 8, 8), 0.25)).loss
    assert torch.allclose(grey, 0.25 * step(entry, nothing, x0).loss)


@every_loss
def test_importance_is_a_factor_of_each_example(entry):
    x0 = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    importance = torch.tensor([1.0, 0.5, 0.0])
    nothing = torch.zeros_like(x0)
    plain, scaled = step(entry, nothing, x0), step(entry, nothing, x0, importance=importance)
    assert torch.equal(scaled.loss, plain.loss * importance)
    assert torch.equal(scaled.mse, plain.mse)
    assert torch.equal(scaled.weight, plain.weight)


@every_loss
def test_the_unweighted_loss_is_the_same_whatever_is_optimised(entry):
    x0 = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    others = [step(e, torch.zeros_like(x0), x0).mse for e in all_of(LOSSES)]
    assert all(torch.equal(other, others[0]) for other in others)


@every_rate
@given(data=st.data())
def test_rate_is_a_factor(entry, data):
    choice = data.draw(choices(entry))
    total = data.draw(st.integers(2, 300))
    warmup = data.draw(st.integers(0, total - 1))
    factors = [choice(step, warmup, total) for step in range(warmup, total)]
    assert all(0 <= f <= 1 + 1e-12 for f in factors)
    if warmup == 0 or not entry.properties.by_step:
        assert factors[0] == pytest.approx(1), "the full rate once it has warmed up"


@pytest.mark.parametrize("warmup", [1, 2, 7])
def test_warm_up_begins_above_nothing_and_ends_at_the_full_rate(warmup):
    factors = [warmup_factor(step, warmup) for step in range(warmup)]
    assert factors[0] > 0
    assert factors[-1] == 1
    assert np.allclose(np.diff(factors), 1 / warmup)
