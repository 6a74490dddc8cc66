"""The fixed interface of `snrlab table`."""

import csv
import io
import json
from itertools import pairwise

import pytest

import tiny
from snrlab.cli.answers import paint
from snrlab.core.findings.finding import Finding
from snrlab.lab.blocks import to_text


def rows(*arguments):
    done = tiny.snrlab("table", *arguments, "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_json_of_every_step():
    table = rows("--prediction", "epsilon", "--weighting", "min_snr:gamma=5", "--every", 1)
    assert len(table) == 1000
    assert {
        "t", "alphas_cumprod", "snr", "log_snr", "p", "weight", "weight_epsilon", "weight_x0", "ip_gamma", "ip_floor",
    } <= set(table[0])  # fmt: skip
    assert [table[t]["snr"] for t in (0, 499, 999)] == pytest.approx([1175.470588, 0.3844081183, 0.004681916706])
    assert [r["t"] for r in table] == list(range(1000))
    assert table[146]["snr"] > 5 > table[147]["snr"]
    assert table[353]["snr"] > 1 > table[354]["snr"]


def test_default_is_every_25_steps_of_the_plain_recipe():
    table = rows()
    assert [r["t"] for r in table] == list(range(0, 1000, 25))
    assert {r["weight"] for r in table} == {1.0}


def test_zero_terminal_snr_has_nulls_and_finite_weights():
    (last,) = rows("--prediction", "v_prediction", "--zero-terminal-snr", "--weighting", "debiased", "--at", 999)
    assert last["snr"] == 0
    assert last["weight"] == 0
    assert last["log_snr"] is None
    assert last["weight_epsilon"] is None


def test_all_options():
    table = rows(
        "--schedule", "cosine:offset=0.01", "--prediction", "v_prediction", "--weighting", "min_snr:gamma=3",
        "--weighting", "p2:k=1,gamma=0.5", "--product-on", "network", "--max-weight", 0.5, "--min-weight", 0.01,
        "--normalize", "--density", "logit_normal:mean=0.5,std=1", "--perturbation", "ip_noise:gamma=0.1",
        "--at", "3,1",
    )  # fmt: skip
    assert [r["t"] for r in table] == [3, 1]
    assert table[0]["ip_gamma"] == 0.1


def test_csv():
    done = tiny.snrlab("table", "--format", "csv", "--at", "0,999")
    table = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [r["t"] for r in table] == ["0", "999"]
    assert float(table[0]["snr"]) == pytest.approx(1175.470588)


def test_text_marks_the_steps_that_matter():
    done = tiny.snrlab("table", "--weighting", "debiased", "--max-weight", 7, "--every", 500)
    assert done.returncode == 0
    for mark in ("SNR < 5", "SNR < 1", "SNR < 0.1", "max_weight from here", "last step"):
        assert mark in done.stdout
    assert "[loss_scale]" in done.stdout


def test_warnings_of_machine_formats_go_to_stderr():
    done = tiny.snrlab(
        "table", "--prediction", "v_prediction", "--zero-terminal-snr", "--weighting", "min_snr", "--format", "json"
    )
    assert "[weight_zero]" in done.stderr
    json.loads(done.stdout)


def test_by_default_few_rows_and_columns_with_plain_training_beside():
    lines = tiny.snrlab("table", "debiased").stdout.splitlines()
    head = next(line for line in lines if "SNR" in line)
    assert head.split() == ["t", "SNR", "weight", "share", "of", "training", "plain"]
    shown = [line.split() for line in lines if line.strip()[:1].isdigit()]
    assert len(shown) < 20
    assert not any("e-" in line for line in lines)
    percents = [[float(word) for word, sign in pairwise(row) if sign == "%"] for row in shown]
    for column in zip(*percents, strict=True):
        assert sum(column) == pytest.approx(100, abs=2)  # each is rounded
    assert "on x0" in tiny.snrlab("table", "debiased", "--details").stdout


def test_findings_are_coloured_in_a_terminal():
    warning = Finding("weight_zero", "warning", "It is so.")
    assert to_text([warning], paint=paint) == "\x1b[33m\x1b[1mwarning: \x1b[0mIt is so. [weight_zero]"
    assert to_text([warning]) == "warning: It is so. [weight_zero]"
    broken = to_text([Finding("a", "info", "word " * 40)], width=60).splitlines()
    assert len(broken) > 3
    assert all(len(line) <= 60 and line.startswith("      ") for line in broken[1:])


def test_other_spellings_are_accepted_and_their_full_names_shown():
    done = tiny.snrlab("table", "--prediction", "v", "--weighting", "minsnr:gamma=3")
    assert "v is v_prediction, minsnr is min_snr" in done.stdout
    assert rows("--prediction", "v", "--weighting", "minsnr") == rows("v_prediction min_snr")


def test_a_misspelt_name_is_met_with_the_nearest_and_not_with_forty():
    done = tiny.snrlab("table", "min_snrr")
    assert done.returncode == 2
    assert "Did you mean 'min_snr'?" in done.stderr
    assert "snrlab table --list" in done.stderr
    assert "debiased" not in done.stderr


def test_a_list_of_every_name():
    from snrlab import DENSITIES, NOISES, OPTIMIZERS, PERTURBATIONS, SCHEDULES, WEIGHTINGS

    shown = dict(line.split(": ") for line in tiny.snrlab("table", "--list").stdout.splitlines())
    for registry in (DENSITIES, NOISES, OPTIMIZERS, PERTURBATIONS, SCHEDULES, WEIGHTINGS):
        assert shown[registry.kind].split(", ") == list(registry)


def test_help_names_every_entry():
    from snrlab import DENSITIES, PERTURBATIONS, SCHEDULES, WEIGHTINGS

    text = "".join(tiny.snrlab("table", "--help", env=_wide()).stdout.split())
    for registry in (DENSITIES, PERTURBATIONS, SCHEDULES, WEIGHTINGS):
        for name in registry:
            assert name in text


def _wide():
    import os

    return os.environ | {"COLUMNS": "200", "TERM": "dumb"}
