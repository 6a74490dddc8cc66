"""What each option of [recipe] changes in the training, against the default recipe."""

import pytest
import torch

import tiny
from effects import shows
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
