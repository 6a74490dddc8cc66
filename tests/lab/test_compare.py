"""Comparisons: distances that theory gives, shares in one space, and what a learning rate means."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from snrlab.core.errors import UserError
from snrlab.core.recipe import Recipe
from snrlab.core.schedule import SCHEDULES
from snrlab.core.timesteps.density import DENSITIES
from snrlab.lab import blocks
from snrlab.lab.comparison import compare_text
from snrlab.lab.comparison.compare import compare, comparison_as_data
from snrlab.lab.comparison.distance import emphasis_law, law, total_variation, wasserstein
from snrlab.lab.recipe_text import parse_recipe

FILES = Path(__file__).parent / "configurations"


def of(text):
    return emphasis_law(parse_recipe(text)[1].tables())


def drawn(shift=1.0, mean=0.0):
    """The law of log-SNR that a logit-normal draw has on a rectified flow: N(-2 mean - 2 ln shift, 2^2)."""
    plain = SCHEDULES.bind("rectified_flow", num_train_timesteps=2000)()
    p = DENSITIES.bind("logit_normal", mean=mean)(plain)
    return law(SCHEDULES.bind("rectified_flow", shift=shift, num_train_timesteps=2000)().log_snr, p)


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0])
def test_a_shift_of_the_schedule_moves_effort_by_two_logarithms(shift):
    """SD3's equation 23: log SNR falls by 2 ln shift, for every part of the effort alike."""
    assert wasserstein(drawn(), drawn(shift)) == pytest.approx(2 * abs(np.log(shift)), abs=0.01)
    assert drawn(shift).mean - drawn().mean == pytest.approx(-2 * np.log(shift), abs=0.01)


def test_distances_are_distances():
    laws = [of(text) for text in ("plain", "min_snr", "debiased", "v_prediction schedule=cosine")]
    for a in laws:
        assert total_variation(a, a) == wasserstein(a, a) == 0
        for b in laws:
            assert total_variation(a, b) == pytest.approx(total_variation(b, a))
            for c in laws:
                assert wasserstein(a, c) <= wasserstein(a, b) + wasserstein(b, c) + 1e-9
    assert 0 < total_variation(laws[0], laws[2]) < 1


def test_effort_that_does_not_overlap_moves_whole():
    early, late = of("density=uniform:max_timestep=100"), of("density=uniform:min_timestep=900")
    assert total_variation(early, late) == pytest.approx(1, abs=0.01)


def test_a_step_without_signal_counts_in_what_moves_and_not_in_how_far():
    without_last = law(np.array([1.0, 0.0, -np.inf]), np.array([0.5, 0.5, 0.0]))
    with_last = law(np.array([1.0, 0.0, -np.inf]), np.array([0.4, 0.4, 0.2]))
    assert total_variation(without_last, with_last) == pytest.approx(0.2)
    assert wasserstein(without_last, with_last) == pytest.approx(0)


def test_one_objective_for_three_networks_is_no_change():
    """Weights that are the same error, told for epsilon, v and x0, put effort in the same places."""
    comparison = compare(["min_snr", "v_prediction min_snr", "sample min_snr"])
    assert max(d.total_variation for d in comparison.distances) < 1e-9
    assert comparison.members[1].bands["weight"] == pytest.approx(comparison.first.bands["weight"])
    naive = compare(["plain", "v_prediction"])
    assert naive.distances[0].total_variation > 0.2


def test_a_constant_factor_changes_the_gradient_and_nothing_else():
    comparison = compare(["plain", "curve:points=0/4,space=epsilon"])
    assert comparison.ratio(comparison.members[1]) == pytest.approx(4)
    assert comparison.distances[0].total_variation < 1e-9


def test_the_gradient_is_not_the_mean_weight():
    """Debiased: three times the mean weight, but where the network is hardly wrong."""
    comparison = compare(["plain", "debiased"])
    assert comparison.members[1].tables.mean_weight == pytest.approx(3.02, abs=0.01)
    assert comparison.ratio(comparison.members[1]) < 1.5


def test_a_learning_rate_of_a_file_is_matched(tmp_path):
    for name, text in (("a", "learning_rate = 1e-4\nunet_lr = 2e-4"), ("b", "learning_rate = 1e-4\nmin_snr_gamma = 1")):
        (tmp_path / f"{name}.toml").write_text(text + "\noptimizer_type = 'SGD'\n")
    comparison = compare([str(tmp_path / "a.toml"), str(tmp_path / "b.toml")])
    assert [m.learning_rate for m in comparison.members] == [2e-4, 1e-4]
    assert comparison.matched(comparison.members[1]) == pytest.approx(2e-4 / comparison.ratio(comparison.members[1]))
    assert "2e-04" in blocks.to_text(compare_text.comparison_blocks(comparison)).replace("0.0002", "2e-04")


def test_a_source_alone_is_compared_with_what_it_meant():
    comparison = compare([str(FILES / "everything.toml")])
    assert [m.label for m in comparison.members] == ["everything.toml", "everything.toml, as meant"]
    assert comparison.members[1].recipe.min_weight == 0.01


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["plain"], "plain alone cannot be compared; name a second"),
        ([str(FILES / "onetrainer-sdxl-lora.json")], "lora.json does what it says; name a second"),
        (["plain", "plain"], "two of them are called 'plain'"),
        (["plain", "min_snrr"], "Did you mean 'min_snr'"),
        (["plain", "no/such/file.toml"], "no file"),
        (["plain", "zero_terminal_snr debiased"], "infinite at t = 999"),
    ],
)
def test_mistakes(texts, message):
    with pytest.raises(UserError, match=message):
        compare(texts)


def test_every_form_says_the_same(tmp_path):
    comparison = compare(["plain", "B = v_prediction zero_terminal_snr"])
    data = comparison_as_data(comparison)
    assert json.loads(json.dumps(data)) == data
    share = f"{data['members'][1]['weight_share']['0.1 > SNR']:.1%}"
    title = compare_text.comparison_title(comparison)
    for text in (
        blocks.to_text(compare_text.comparison_blocks(comparison, details=True)),
        blocks.to_markdown(title, compare_text.comparison_blocks(comparison, details=True)),
        blocks.to_html(title, compare_text.comparison_blocks(comparison, details=True)),
    ):
        assert share in text
        assert "SNR 0" in text
    assert Recipe() == comparison.first.recipe


def brief(*texts, **options):
    return blocks.to_text(compare_text.comparison_blocks(compare(list(texts)), **options))


def test_statistics_are_details():
    words = re.compile(r"wasserstein|total variation|\bnats\b|effective sample size|gradient energy of", re.I)
    assert not words.search(brief("plain", "debiased", "p2"))
    assert words.search(brief("plain", "debiased", "p2", details=True))


def test_the_first_sentence_is_the_difference_in_the_table():
    text = brief("plain", "debiased")
    first = text.splitlines()[0]
    assert first == (
        "Compared with plain, debiased moves 38 % of the training, most of it from shapes to almost pure noise."
    )
    gained = re.search(r"debiased minus plain .*\+([\d.]+)$", text, re.M)[1]
    assert float(gained) == pytest.approx(38.5)
    assert "every noise level as much as plain does" in brief("plain", "curve:points=0/4,space=epsilon").splitlines()[0]


def test_plain_training_stands_beside_where_no_recipe_is_plain():
    assert "plain training" not in brief("plain", "debiased")
    assert "plain training" in brief("min_snr", "debiased")


def test_the_command_draws_and_never_needs_torch(tmp_path):
    code = (
        "import sys\n"
        "sys.argv = 'snrlab compare plain debiased --format html -o a.html --figure a.csv'.split()\n"
        "sys.modules['torch'] = None\n"
        "from snrlab.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "a.html").read_text()
    assert page.count("<svg") == 1
    assert not re.search(r"(src|href)=.?http|url\(.?http", page.replace("http://www.w3.org", ""))
    assert (tmp_path / "a.csv").read_text().count("\n") > 1000
