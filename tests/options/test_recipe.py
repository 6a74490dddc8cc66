"""What each option of [recipe] changes in the training, against the default recipe."""

import pytest
import torch

import tiny
from effects import shows
from snrlab import UserError
from snrlab.train.job import prepare
from snrlab.train.loop import steps

CONVERT = {"model": {"convert": True}}
MIN_SNR = {"weighting": ["min_snr:gamma=1"]}


@pytest.fixture(scope="module")
def v_model(tmp_path_factory):
    return tiny.save_model(tmp_path_factory.mktemp("v") / "tiny", "v_prediction")


def train(model, pictures, recipe, /, **sections):
    """(weights, timesteps, unweighted losses, weights on them) after three steps."""
    job = prepare(tiny.run_config(model, pictures, recipe=recipe, train={"steps": 3}, **sections))
    taken = list(steps(job))
    trained = torch.cat([p.detach().flatten() for p in job.parameters.values()])
    return trained, *(torch.cat([getattr(step, name) for step in taken]) for name in ("timesteps", "mse", "weight"))


@shows("recipe.weighting", "recipe.max_weight", "recipe.min_weight", "recipe.normalize")
@pytest.mark.parametrize(
    ("recipe", "base"),
    [
        (MIN_SNR, {}),
        ({**MIN_SNR, "max_weight": 0.3}, MIN_SNR),
        ({**MIN_SNR, "min_weight": 0.7}, MIN_SNR),
        ({**MIN_SNR, "normalize": True}, MIN_SNR),
    ],
    ids=["weighting", "max_weight", "min_weight", "normalize"],
)
def test_weights(recipe, base, tiny_model, pictures):
    """Another weight on the same draws: the first step's unweighted losses agree, what is trained does not."""
    trained, t, mse, weight = train(tiny_model, pictures, recipe)
    before, same_t, same_mse, other = train(tiny_model, pictures, base)
    assert torch.equal(t, same_t)
    assert torch.equal(mse[:4], same_mse[:4])
    assert not torch.equal(weight, other)
    assert not torch.equal(trained, before)
    if "max_weight" in recipe:
        assert torch.equal(weight, other.clamp(max=0.3))
    if "min_weight" in recipe:
        assert torch.equal(weight, other.clamp(min=0.7))
    if "normalize" in recipe:
        assert torch.allclose(weight / other, (weight / other)[0].expand(len(weight)))


@shows("recipe.product_on")
def test_where_weights_multiply(v_model, pictures):
    both = {"weighting": ["min_snr:gamma=5", "debiased"]}
    trained, t, _, weight = train(v_model, pictures, {**both, "product_on": "network"})
    before, same_t, _, other = train(v_model, pictures, both)
    assert torch.equal(t, same_t)
    assert not torch.equal(weight, other)
    assert not torch.equal(trained, before)


@shows("recipe.density", "recipe.sampling")
@pytest.mark.parametrize("recipe", [{"density": "uniform:max_timestep=200"}, {"sampling": "plain"}], ids=str)
def test_timesteps(recipe, tiny_model, pictures):
    trained, t, *_ = train(tiny_model, pictures, recipe)
    before, other, *_ = train(tiny_model, pictures, {})
    assert not torch.equal(t, other)
    assert not torch.equal(trained, before)
    assert "density" not in recipe or (int(t.max()) < 200 < int(other.max()))


@shows("recipe.perturbation", "recipe.noise")
@pytest.mark.parametrize("recipe", [{"perturbation": "ip_noise:gamma=0.3"}, {"noise": "offset:strength=0.5"}], ids=str)
def test_noises(recipe, tiny_model, pictures):
    trained, t, mse, _ = train(tiny_model, pictures, recipe)
    before, same_t, other, _ = train(tiny_model, pictures, {})
    assert torch.equal(t, same_t)
    assert (mse[:4] != other[:4]).all()
    assert not torch.equal(trained, before)


@shows("recipe.schedule", "recipe.zero_terminal_snr", "recipe.prediction_type")
@pytest.mark.parametrize(
    "recipe",
    [{"schedule": "cosine"}, {"zero_terminal_snr": True}, {"prediction_type": "epsilon"}],
    ids=["schedule", "zero_terminal_snr", "prediction_type"],
)
def test_what_a_model_is_converted_to(recipe, v_model, pictures):
    trained, t, mse, _ = train(v_model, pictures, recipe, **CONVERT)
    before, same_t, other, _ = train(v_model, pictures, {})
    assert torch.equal(t, same_t)
    assert (mse[:4] != other[:4]).any()
    assert not torch.equal(trained, before)


@shows("recipe.sampling")
def test_a_sampling_that_learns(tiny_model, pictures):
    _, t, mse, _ = train(tiny_model, pictures, {"sampling": {"name": "importance", "floor": 0.01, "decay": 0.0}})
    _, other, same_mse, _ = train(tiny_model, pictures, {})
    assert torch.equal(t[:4], other[:4]), "nothing is known before the first step"
    assert torch.equal(mse[:4], same_mse[:4])
    assert not torch.equal(t[4:], other[4:])


FIRST = {"weighting": ["min_snr:gamma=1"]}


@shows(
    "recipe.stages.from_step",
    "recipe.stages.weighting",
    "recipe.stages.max_weight",
    "recipe.stages.min_weight",
    "recipe.stages.normalize",
    "recipe.stages.density",
    "recipe.stages.perturbation",
)
@pytest.mark.parametrize(
    "change",
    [
        {"weighting": ["debiased"]},
        {"max_weight": 0.3},
        {"min_weight": 0.7},
        {"normalize": True},
        {"density": "uniform:max_timestep=200"},
        {"perturbation": "ip_noise:gamma=0.3"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_stages(change, tiny_model, pictures):
    """The first step is that of the recipe, the second that of the stage, as if the recipe had been it all along."""
    _, t, mse, weight = train(tiny_model, pictures, {**FIRST, "stages": [{"from_step": 1, **change}]})
    _, first_t, first_mse, first_weight = train(tiny_model, pictures, FIRST)
    _, later_t, _, later_weight = train(tiny_model, pictures, {**FIRST, **change})
    assert torch.equal(t[:4], first_t[:4])
    assert torch.equal(mse[:4], first_mse[:4])
    assert torch.equal(weight[:4], first_weight[:4])
    assert torch.equal(t[4:], later_t[4:])
    assert torch.equal(weight[4:], later_weight[4:])
    assert (mse[4:8] != first_mse[4:8]).any() or not torch.equal(weight[4:8], first_weight[4:8])


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([{"from_step": 2, "density": "laplace"}, {"from_step": 2, "density": "uniform"}], "later than the one before"),
        ([{"from_step": 1}], "states nothing"),
        ([{"from_step": 1, "density": "loss_attention"}], "from the first step on"),
        ([{"from_step": 3, "density": "laplace"}], "from_step is 3, but the run ends after 3 steps"),
        ([{"from_step": 1, "wieghting": []}], "Did you mean 'weighting'"),
        ([{"from_step": 0, "weighting": []}], "it must be >= 1"),
    ],
)
def test_stages_that_cannot_be(stages, message, tiny_model, pictures):
    with pytest.raises(UserError, match=message):
        train(tiny_model, pictures, {"stages": stages})


def test_a_density_and_a_sampling_that_both_learn_are_refused(tiny_model, pictures):
    with pytest.raises(UserError, match="leave out sampling importance"):
        train(tiny_model, pictures, {"density": "loss_attention", "sampling": "importance"})
