import pytest

from snrlab import DENSITIES, NOISES, PERTURBATIONS, SAMPLINGS, WEIGHTINGS, Recipe, UserError, findings
from snrlab.core.findings.recipe_findings import refuse_errors
from snrlab.core.stages import Stage


def codes(**parts):
    weighting = tuple(WEIGHTINGS.parse(s) for s in parts.pop("weighting", ()))
    return {f.code: f for f in findings(Recipe(weighting=weighting, **parts))}


def test_plain_recipe_has_none():
    assert codes() == {}


def test_epsilon_with_zero_terminal_snr_is_an_error():
    by_code = codes(zero_terminal_snr=True)
    assert by_code["epsilon_zero_terminal_snr"].grade == "error"
    with pytest.raises(UserError, match="v_prediction"):
        refuse_errors(list(by_code.values()))
    assert "epsilon_zero_terminal_snr" not in codes(zero_terminal_snr=True, prediction_type="v_prediction")


def test_infinite_weight_is_an_error_where_it_is_trained():
    recipe = {"weighting": ["debiased", "sample"], "prediction_type": "v_prediction", "zero_terminal_snr": True}
    assert codes(**recipe)["weight_infinite"].grade == "error"
    assert "weight_infinite" not in codes(**recipe, density=DENSITIES.parse("uniform:max_timestep=999"))
    assert "weight_infinite" not in codes(**recipe, max_weight=7.0)


def test_zero_weight_and_its_remedy():
    recipe = {"weighting": ["min_snr"], "prediction_type": "v_prediction", "zero_terminal_snr": True}
    assert codes(**recipe)["weight_zero"].numbers["first"] == 999
    assert "min_weight" in codes(**recipe)["weight_zero"].action
    assert "weight_zero" not in codes(**recipe, min_weight=0.01)


def test_double_counting():
    by_code = codes(weighting=["min_snr", "scale_v_pred_loss_like_noise_pred"], prediction_type="v_prediction")
    assert by_code["double_counting"].numbers["smallest"] == pytest.approx(0.00466, rel=1e-3)
    network = codes(weighting=["min_snr", "debiased"], prediction_type="v_prediction", product_on="network")
    assert network["product_on_network"].numbers["smallest"] == pytest.approx(0.00466, rel=1e-3)
    assert "product_on_network" not in codes(weighting=["min_snr", "debiased"], product_on="network")
    assert "damped_twice" in codes(weighting=["min_snr", "debiased"])


def test_scale_and_sample_size():
    by_code = codes(weighting=["debiased"])
    assert by_code["loss_scale"].numbers["mean_weight"] == pytest.approx(3.021, abs=1e-3)
    assert by_code["effective_sample_size"].numbers["effective_sample_size"] == pytest.approx(0.45, abs=5e-3)
    assert "loss_scale" not in codes(weighting=["debiased"], normalize=True)


def test_limits_say_where_they_act():
    assert codes(weighting=["debiased"], max_weight=7.0)["max_weight"].message == "max_weight 7 acts on t = 866..999."
    assert codes(weighting=["debiased"], max_weight=5.0)["max_weight"].message == "max_weight 5 acts on t = 796..999."
    assert codes(weighting=["min_snr"], max_weight=7.0)["max_weight"].grade == "warning"


def test_perturbation():
    noise = PERTURBATIONS.parse("ip_noise:gamma=0.1")
    assert codes(perturbation=noise)["perturbation_floor"].numbers["largest_floor"] == pytest.approx(0.00990099)
    assert "perturbation_not_the_paper" in codes(perturbation=noise, prediction_type="v_prediction")
    random = codes(perturbation=PERTURBATIONS.parse("ip_noise_random:gamma=0.1"))
    assert random["perturbation_random"].numbers["rms"] == pytest.approx(0.0577, abs=1e-4)
    assert codes(perturbation=PERTURBATIONS.parse("ip_noise:gamma=0")) == {}


def test_peer_variants():
    by_code = codes(weighting=["kohya_debiased_v"], prediction_type="v_prediction")
    assert "kohya" in by_code["peer_variant"].message
    assert "peer_prediction_type" not in by_code
    assert codes(weighting=["kohya_debiased_v"])["peer_prediction_type"].grade == "warning"
    assert codes(weighting=["scale_v_pred_loss_like_noise_pred"])["peer_prediction_type"].grade == "error"


def test_steps_never_trained():
    part = DENSITIES.parse("uniform:min_timestep=200,max_timestep=999")
    assert codes(density=part)["never_trained"].grade == "info"
    by_code = codes(density=part, prediction_type="v_prediction", zero_terminal_snr=True)
    assert by_code["never_trained"].grade == "warning"
    rare = codes(density=DENSITIES.parse("logit_normal:mean=0,std=0.5"))["never_trained"]
    assert "t = 0..82 and 917..999 are" in rare.message
    assert "once in 10,000,000 picks" in rare.message


def test_noise_shape():
    assert "brightness" in codes(noise=NOISES.parse("offset"))["noise_shape"].message
    assert codes(noise=NOISES.parse("gaussian")) == {}


def test_impossible_values_are_refused():
    for wrong in ({"max_weight": -1.0}, {"min_weight": 2.0, "max_weight": 1.0}, {"prediction_type": "eps"},
                  {"product_on": "x0"}):  # fmt: skip
        with pytest.raises(UserError):
            Recipe(**wrong)


def test_what_is_learnt_is_said():
    assert "does not correct for that" in codes(density=DENSITIES.bind("loss_attention"))["density_learns"].message
    finding = codes(sampling=SAMPLINGS.bind("importance", floor=0.25))["sampling_learns"]
    assert finding.grade == "info"
    assert finding.numbers["most"] == 4


def test_stages_are_looked_at_one_by_one():
    later = Stage(7, weighting=(WEIGHTINGS.bind("debiased"),))
    scale_findings = [f for f in findings(Recipe(stages=(later,))) if f.code == "loss_scale"]
    assert [f.message.partition(":")[0] for f in scale_findings] == ["from step 7"]
    wrong = (Stage(3, weighting=(WEIGHTINGS.bind("debiased"), WEIGHTINGS.bind("sample"))),)
    with pytest.raises(UserError, match="from step 3: the training weight is infinite"):
        refuse_errors(findings(Recipe(prediction_type="v_prediction", zero_terminal_snr=True, stages=wrong)))
