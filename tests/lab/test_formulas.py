"""The formula that the documentation prints for an entry is what the entry computes."""

from statistics import NormalDist

import numpy as np
import pytest
from documentation.formula_notation import clauses, evaluate, to_latex

from drawing import REGISTRIES, all_of, default, entry_id, stated_for
from snrlab.core.lr_schedules import LR_SCHEDULES, progress, read_rules
from snrlab.core.perturbation import PERTURBATIONS
from snrlab.core.prediction import gain
from snrlab.core.registries.tensor_registries import LOSSES, OPTIMIZERS
from snrlab.core.schedule import SCHEDULES, from_betas, sd
from snrlab.core.timesteps.density import DENSITIES
from snrlab.core.weights import curve, loss_weight
from snrlab.core.weights.weighting import WEIGHTINGS

SD = sd()
SPACES = {"w_x0": "sample", "w_v": "v_prediction", "w_epsilon": "epsilon"}
NONE = {"max_snr": np.inf, "max_timestep": 1000, "timescale": 20}  # what `none` stands for in a formula


def names(entry):
    """Parameters by name, as a formula reads them."""
    params = default(entry).params
    return {k: NONE.get(k) if v is None else v for k, v in params.items()}


def drawn(text):
    return lambda x: curve.curve_value(text, x)


@pytest.mark.parametrize("entry", [e for r in REGISTRIES if r is not OPTIMIZERS for e in r.values()], ids=entry_id)
def test_every_entry_has_a_formula_that_prints(entry):
    assert "\\text{_" not in to_latex(entry.formula)
    assert clauses(entry.formula)


@pytest.mark.parametrize("entry", all_of(WEIGHTINGS), ids=entry_id)
def test_weightings(entry):
    values = names(entry) | {"S": SD.snr}
    if "points" in values:
        values |= {"points": drawn(values["points"]), "gain": lambda space: gain(space, SD.log_snr)}
    if "of" in values:  # on the shipped schedule: stale weights are those of the schedule before the rescale
        values |= {
            "of": lambda snr: loss_weight.loss_weight([WEIGHTINGS.parse("min_snr")], np.log(snr), "v_prediction")
        }
        values["S_before"] = stale(SD)
    left = clauses(entry.formula)[0][0].id
    space = SPACES.get(left, stated_for(entry))
    ours = loss_weight.loss_weight([default(entry)], SD.log_snr, space)
    assert np.broadcast_to(evaluate(entry.formula, values), ours.shape) == pytest.approx(ours, rel=1e-9)


def stale(schedule):
    """The SNR a step had before the rescaling that gave it its present one."""
    plain = sd().alphas_cumprod
    first, last = np.sqrt(plain[0]), np.sqrt(plain[-1])
    before = (np.sqrt(schedule.alphas_cumprod) * (first - last) / first + last) ** 2
    return np.minimum(before, plain[0]) / (1 - np.minimum(before, plain[0]))


@pytest.mark.parametrize("entry", [e for e in all_of(SCHEDULES) if e.name != "scheduler_config"], ids=entry_id)
def test_schedules(entry):
    ours, t = default(entry)(), np.arange(1000.0)
    value = evaluate(entry.formula, names(entry) | {"t": t, "T": 1000})
    match clauses(entry.formula)[0][0].id:
        case "beta":
            assert from_betas(value).snr == pytest.approx(ours.snr, rel=1e-9)
        case "sigma":
            assert value == pytest.approx(ours.sigma, rel=1e-9)


@pytest.mark.parametrize("entry", all_of(PERTURBATIONS), ids=entry_id)
def test_perturbations(entry):
    values = names(entry) | {"S": SD.snr}
    if "points" in values:
        values["points"] = drawn(values["points"])
    ours = default(entry)(SD.log_snr)
    assert np.broadcast_to(evaluate(entry.formula, values), ours.shape) == pytest.approx(ours)


@pytest.mark.parametrize("entry", all_of(DENSITIES), ids=entry_id)
def test_densities(entry):
    """A continuous law, times the width of the step's cell, is the step's probability away from the ends."""
    values = names(entry) | {"log_snr": SD.log_snr, "u": (np.arange(1000) + 0.5) / 1000}
    values |= {"T": 1000, "w": np.ones(1000), "mse": np.ones(1000)}  # of one that learns: its start
    if "points" in values:
        values["points"] = drawn(values["points"])
    left = clauses(entry.formula)[0][0]
    if not hasattr(left, "args") and left.id == "u":  # where a step is drawn, of r evenly drawn and n = the normal of r
        r = (np.arange(50_000) + 0.5) / 50_000
        n = np.array([NormalDist().inv_cdf(x) for x in r])
        u = evaluate(entry.formula, values | {"r": r, "n": n})
        law = np.bincount((1000 * u).astype(int).clip(0, 999), minlength=1000) / len(r)
        assert law.reshape(50, 20).sum(1) == pytest.approx(default(entry)(SD).reshape(50, 20).sum(1), abs=5e-5)
        return
    values["v"] = np.linspace(0, 1, 1000)
    value = np.broadcast_to(evaluate(entry.formula, values), SD.snr.shape)
    width = {"u": 1e-3, "log_snr": np.abs(np.gradient(SD.log_snr))}
    law = value * width[left.args[0].id] if hasattr(left, "args") else value
    middle = slice(100, 900)
    assert law[middle] == pytest.approx(default(entry)(SD)[middle], rel=2e-2)


@pytest.mark.parametrize("entry", all_of(LR_SCHEDULES), ids=entry_id)
def test_learning_rates(entry):
    choice = default(entry)
    warmup, total = 20, 120
    for step in (20, 50, 80, 115):
        values = names(entry) | {"step": step, "warmup": warmup, "total": total, "u": progress(step, warmup, total)}
        if "rules" in values:
            bounds, last = read_rules(values["rules"])
            values["rules"] = lambda s, b=bounds, end=last: next((f for before, f in b if s < before), end)
        assert float(evaluate(entry.formula, values)) == pytest.approx(choice(step, warmup, total), abs=1e-9)


@pytest.mark.parametrize("entry", all_of(LOSSES), ids=entry_id)
def test_losses(entry):
    import torch

    d, c = torch.linspace(-3, 3, 13), torch.tensor(0.4)
    ours = default(entry)(SD).of_error(d, c).numpy()
    assert evaluate(entry.formula, {"d": d.numpy(), "c_t": 0.4}) == pytest.approx(ours, rel=1e-5, abs=1e-6)
