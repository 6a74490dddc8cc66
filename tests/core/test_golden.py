"""Numbers from papers and from float64 computation, by name; the sources are in each test."""

import numpy as np
import pytest

from snrlab import DENSITIES, SCHEDULES, WEIGHTINGS, Recipe
from snrlab.core.schedule import zero_terminal_snr
from snrlab.core.weights.loss_weight import loss_weight

SD = SCHEDULES.bind("sd")()
T = [0, 24, 49, 99, 249, 499, 749, 999]


def weights(spec, prediction_type, log_snr=SD.log_snr):
    return loss_weight([WEIGHTINGS.parse(s) for s in spec], log_snr, prediction_type)


def test_sd_schedule():
    wanted = [
        1175.470588,
        43.55533451,
        20.10842482,
        8.565970262,
        2.081022389,
        0.3844081183,
        0.06002215562,
        0.004681916706,
    ]
    assert SD.snr[T] == pytest.approx(wanted, rel=1e-9)
    assert [SD.crossing(s) for s in (5, 1, 0.1)] == [147, 354, 687]
    assert (SD.snr > 1000).sum() == 1, "kohya's cap of 1000 touches step 0 only"
    assert np.sqrt(SD.alphas_cumprod[-1]) == pytest.approx(0.0682649, rel=1e-5)  # arXiv:2305.08891, table 1


def test_sd_schedule_with_zero_terminal_snr():
    rescaled = zero_terminal_snr(SD)
    wanted = [1175.470588, 40.63620323, 18.7079069, 7.935424164, 1.891753064, 0.3198866215, 0.03430958256, 0]
    assert rescaled.snr[T] == pytest.approx(wanted, rel=1e-9)
    assert rescaled.snr[998] == pytest.approx(1.968e-7, rel=1e-3)
    assert [rescaled.crossing(s) for s in (5, 1, 0.1)] == [139, 337, 644]
    assert rescaled.log_snr[900] - SD.log_snr[900] == pytest.approx(-1.576, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "first", "last", "crossings"),
    [
        ("ddpm_linear", 9999, 4.036e-5, [130, 259, 485]),
        ("cosine", 24221, 2.43e-9, [261, 496, 803]),
    ],
)
def test_other_schedules(name, first, last, crossings):
    schedule = SCHEDULES.bind(name)()
    assert schedule.snr[0] == pytest.approx(first, rel=1e-4)
    assert schedule.snr[-1] == pytest.approx(last, rel=2e-3)
    assert [schedule.crossing(s) for s in (5, 1, 0.1)] == crossings


@pytest.mark.parametrize(
    ("spec", "prediction_type", "wanted"),
    [
        (["min_snr:gamma=5"], "epsilon", [0.00425362, 0.11479650, 0.24865200, 0.58370504, 1, 1, 1, 1]),
        (["debiased:max_snr=1000"], "epsilon",
         [0.03162278, 0.15152327, 0.22300314, 0.34167383, 0.69320490, 1.61288619, 4.08172936, 14.61464123]),
        (["debiased"], "v_prediction",
         [0.02914237, 0.14812248, 0.21243849, 0.30595620, 0.46821306, 0.44784955, 0.23112177, 0.06810567]),
        (["min_snr:gamma=5"], "v_prediction",
         [0.00425, 0.11222001, 0.23687225, 0.52268613, 0.67543241, 0.27766965, 0.05662349, 0.00466010]),
        (["min_snr:gamma=5", "debiased:max_snr=1000"], "epsilon",
         [0.000134511, 0.017394341, 0.055450176, 0.199436737, 0.693204900, 1.612886194, 4.081729364, 14.614641229]),
        (["kohya_debiased_v"], "v_prediction",
         [0.00099900, 0.02244400, 0.04737445, 0.10453723, 0.32456759, 0.72233035, 0.94337651, 0.99533990]),
    ],
)  # fmt: skip
def test_weights_on_the_sd_schedule(spec, prediction_type, wanted):
    assert weights(spec, prediction_type)[T] == pytest.approx(wanted, rel=2e-6)


def test_debiased_ends():
    epsilon, v = weights(["debiased"], "epsilon"), weights(["debiased"], "v_prediction")
    assert epsilon[[0, 999]] == pytest.approx([0.0291671582, 14.6146412], rel=1e-8)
    assert v[999] == pytest.approx(0.0681056679, rel=1e-8)
    assert epsilon**2 * SD.snr == pytest.approx(np.ones(1000))
    assert v == pytest.approx(SD.alpha * SD.sigma)
    assert v.max() <= 0.5


@pytest.mark.parametrize(
    ("spec", "prediction_type", "at_500", "at_900"),
    [
        ("onetrainer_debiased_v", "v_prediction", 0.8507, 0.9929),
        ("diffusers_dreambooth_min_snr_v", "v_prediction", 2, 2),
        ("diffusers_pixart_min_snr_v", "v_prediction", 1, 1),
        ("kohya_debiased_v", "v_prediction", 0.7237, 0.9858),
    ],
)
def test_peers_variants(spec, prediction_type, at_500, at_900):
    assert weights([spec], prediction_type)[[500, 900]] == pytest.approx([at_500, at_900], abs=6e-5)


@pytest.mark.parametrize(
    ("spec", "mean", "fifths"),
    [
        ([], 1, [0.2] * 5),
        (["min_snr:gamma=5"], 0.917, [0.127, 0.218, 0.218, 0.218, 0.218]),
        (["debiased"], 3.021, [0.022, 0.056, 0.109, 0.228, 0.585]),
        (["min_snr", "debiased"], 3.003, [0.016, 0.056, 0.110, 0.230, 0.588]),
        (["soft_min_snr"], 0.804, None),
        (["p2"], 0.627, None),
        (["sample"], 20.3, [0.001, 0.007, 0.028, 0.123, 0.840]),
    ],
)
def test_scale_of_the_loss(spec, mean, fifths):
    tables = Recipe(weighting=tuple(WEIGHTINGS.parse(s) for s in spec)).tables()
    assert tables.mean_weight == pytest.approx(mean, rel=2e-3)
    if fifths:
        assert tables.weight_share().reshape(5, 200).sum(1) == pytest.approx(fifths, abs=1e-3)


def test_effective_sample_size():
    for spec, wanted in (("debiased", 0.45), ("min_snr", 0.94)):
        assert Recipe(weighting=(WEIGHTINGS.parse(spec),)).tables().effective_sample_size == pytest.approx(
            wanted, abs=5e-3
        )


def test_families_meet():
    log_snr = np.linspace(-12, 12, 97)

    def w(spec):
        return weights([spec], "epsilon", log_snr)

    assert w("p2:k=1,gamma=1") == pytest.approx(w("soft_min_snr:gamma=1"))
    assert w("soft_min_snr:gamma=5") == pytest.approx(w(f"sigmoid:bias={np.log(5)}"))
    assert w("p2:k=1,gamma=1") == pytest.approx(weights(["kohya_debiased_v"], "v_prediction", np.minimum(log_snr, 6))
                                                [log_snr < 6].tolist() + w("p2")[log_snr >= 6].tolist())  # fmt: skip
    hard, soft = w("min_snr:gamma=5"), w("soft_min_snr:gamma=5")
    assert (hard >= soft - 1e-15).all()
    assert (hard <= 2 * soft + 1e-15).all()
    assert w("min_snr:gamma=1000")[log_snr < np.log(1000)] == pytest.approx(1)
    for spec in ("min_snr", "soft_min_snr", "p2", "debiased"):
        assert (np.diff(w(spec)) <= 1e-15).all(), "on epsilon, cleaner steps never count more"
    for spec in ("min_snr", "soft_min_snr"):
        assert (np.diff(weights([spec], "sample", log_snr)) >= -1e-15).all()


def test_min_snr_on_v_peaks_at_gamma():
    weight = weights(["min_snr:gamma=5"], "v_prediction")
    assert weight.argmax() == 146
    fine = np.linspace(-3, 5, 8001)
    assert weights(["min_snr:gamma=5"], "v_prediction", fine).max() == pytest.approx(5 / 6, rel=1e-3)


def test_weights_at_zero_and_infinite_snr():
    ends = np.array([-np.inf, np.inf])
    assert weights(["min_snr"], "epsilon", ends).tolist() == [1, 0]
    assert weights(["min_snr"], "v_prediction", ends).tolist() == [0, 0]
    assert weights(["debiased"], "epsilon", ends).tolist() == [np.inf, 0]
    assert weights(["debiased", "debiased"], "v_prediction", ends) == pytest.approx([1, 0])
    extreme = np.log(10.0 ** np.arange(-12, 13))
    for dtype in (np.float32, np.float64):
        assert np.isfinite(weights(["min_snr"], "epsilon", extreme.astype(dtype))).all()


def test_rectified_flow():
    schedule = SCHEDULES.parse("rectified_flow")()
    t = schedule.sigma
    assert weights(["min_snr:gamma=5"], "flow_prediction", schedule.log_snr) == pytest.approx(
        np.minimum((1 - t) ** 2, 5 * t**2)
    )
    assert weights(["debiased"], "flow_prediction", schedule.log_snr) == pytest.approx(t * (1 - t))
    shifted = SCHEDULES.parse("rectified_flow:shift=3")()
    assert shifted.log_snr == pytest.approx(schedule.log_snr - 2 * np.log(3))  # arXiv:2403.03206, eq. 23
    twice = SCHEDULES.parse("rectified_flow:shift=6")()
    again = 2 * shifted.sigma / (1 + shifted.sigma)
    assert twice.sigma == pytest.approx(again), "shifts compose"


def test_weighted_loss_does_not_depend_on_the_schedule():
    """The integral of w(log_snr) g(log_snr) is the same over two schedules when the density is corrected for."""

    def integral(schedule):
        nodes = schedule.log_snr
        inside = np.abs(nodes) < 4
        weight = weights(["min_snr"], "epsilon", nodes) * np.exp(-(nodes**2) / 4)
        return -np.trapezoid(np.where(inside, weight, 0), nodes)

    integrals = [integral(SCHEDULES.bind(name)()) for name in ("sd", "ddpm_linear", "cosine")]
    assert integrals == pytest.approx([integrals[0]] * 3, rel=5e-3)


def test_cosine_with_v_loss_is_flow_matching():
    """Uniform flow matching and the v loss under the cosine schedule weigh log-SNR alike (science of 2303.00848)."""
    flow = Recipe(schedule=SCHEDULES.parse("rectified_flow"), prediction_type="flow_prediction").tables()
    cosine = Recipe(schedule=SCHEDULES.parse("cosine:offset=0"), prediction_type="v_prediction").tables()
    nodes = np.linspace(-4, 4, 33)
    curves = [np.interp(nodes, tables.log_snr[::-1], tables.emphasis("epsilon")[::-1]) for tables in (flow, cosine)]
    assert curves[0] / curves[0].sum() == pytest.approx(curves[1] / curves[1].sum(), rel=2e-2)


def test_densities():
    flow = SCHEDULES.parse("rectified_flow")()
    p = DENSITIES.parse("logit_normal:mean=1,std=1")(flow)
    assert (p * flow.sigma).sum() == pytest.approx(0.70, abs=5e-3), "the SD3 paper's sign: noisier"
    p = DENSITIES.parse("logit_normal:mean=0.5,std=0.8")(flow)
    mean = (p * flow.log_snr).sum()
    assert mean == pytest.approx(-1.0, abs=1e-3)  # log_snr ~ N(-2 m, (2 s)^2)
    assert np.sqrt((p * (flow.log_snr - mean) ** 2).sum()) == pytest.approx(1.6, rel=1e-3)
    p = DENSITIES.parse("laplace:mean=1,scale=0.5")(flow)
    assert (p * flow.log_snr).sum() == pytest.approx(1.0, abs=1e-3)
    assert (p * np.abs(flow.log_snr - 1)).sum() == pytest.approx(0.5, rel=1e-3)
    uniform = DENSITIES.parse("uniform:max_timestep=999")(SD)
    assert uniform[998:].tolist() == [pytest.approx(1 / 999), 0]
