"""A run file has one recipe: every command and every page states the schedule and prediction type that are trained."""

import json
import re

import pytest

import tiny
import tiny_families
from snrlab.config import parse_run, read_run
from snrlab.lab.card import write_card
from snrlab.lab.report import write_report
from snrlab.model_files.resolve import resolve_to_show
from snrlab.models.storage.save_single_file import save_single_file
from snrlab.runs.folder import RunFolder, write_config

ZERO = {"rescale_betas_zero_snr": True}
# by name: (family of a single file or None, its prediction type, its scheduler) and (schedule, zero, prediction type)
MODELS = {
    "small": (None, ("sd", False, "epsilon")),
    "small_v": (None, ("sd", True, "v_prediction")),
    "sd1": (("sd1", "epsilon", {}), ("sd", False, "epsilon")),
    "sd2": (("sd2", "v_prediction", {}), ("sd", False, "v_prediction")),
    "sdxl": (("sdxl", "v_prediction", ZERO), ("sd", True, "v_prediction")),
}
PAPERS = {"epsilon": "ho2020denoising", "v_prediction": "salimans2022progressive"}


@pytest.fixture(scope="module", params=[pytest.param(n, marks=pytest.mark.long) if n == "sd2" else n for n in MODELS])
def run_file(request, pictures, tmp_path_factory):
    """(the run file that init writes, the name of its model)."""
    place = tmp_path_factory.mktemp(request.param)
    made, _ = MODELS[request.param]
    model = request.param
    if made is not None:
        model = str(place / f"{request.param}.safetensors")
        family, prediction_type, scheduler = made
        save_single_file(tiny_families.family(family, prediction_type, **scheduler), place / model, None)
    done = tiny.snrlab("init", pictures, "--model", model, "-o", "run.toml", cwd=place)
    assert done.returncode == 0, done.stderr
    return place / "run.toml", request.param


def expected(name):
    return MODELS[name][1]


def stated(recipe):
    """(schedule, zero terminal SNR, prediction type) of a recipe as plain data."""
    return recipe["schedule"]["name"], recipe["zero_terminal_snr"], recipe["prediction_type"]


def in_words(text):
    """The same out of a description."""
    match = re.search(r"schedule (\w+)( with zero terminal SNR)?, predicts (\w+)", text, re.IGNORECASE)
    assert match, text
    return match[1], bool(match[2]), match[3]


def test_explain_and_compare(run_file):
    file, name = run_file
    explained = json.loads(tiny.snrlab("explain", file, "--format", "json").stdout)
    assert stated(explained["recipe_as_is"]) == expected(name)
    assert explained["assumption"] == ""
    compared = json.loads(tiny.snrlab("compare", file, "min_snr", "--format", "json").stdout)
    assert stated(compared["members"][0]["recipe"]) == expected(name)


def test_table_and_plot(run_file, tmp_path):
    file, name = run_file
    done = tiny.snrlab("table", file)
    assert in_words(done.stdout.replace("\n", " ")) == expected(name)
    rows = json.loads(tiny.snrlab("table", file, "--format", "json", "--at", "999").stdout)
    assert (rows[0]["snr"] == 0) == expected(name)[1]
    assert tiny.snrlab("plot", file, "-o", tmp_path / "a.html").returncode == 0
    assert in_words((tmp_path / "a.html").read_text()) == expected(name)


def test_cite(run_file):
    file, name = run_file
    cited = tiny.snrlab("cite", file).stdout
    predicted = expected(name)[2]
    assert f"predicting {predicted}" in cited
    assert not any(f"predicting {other}" in cited for other in PAPERS if other != predicted)
    assert ("zero terminal SNR" in cited) == expected(name)[1]


def test_report_and_card(run_file, tmp_path):
    """Also of a run folder whose run.toml leaves the recipe to the model, as an older or foreign one may."""
    file, name = run_file
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    write_config(folder, read_run(file))
    for page in (write_report(folder.path), write_card(folder.path)):
        assert in_words(page.read_text(encoding="utf-8")) == expected(name)


def test_the_trainer(run_file):
    """`train --check` does all that comes before the first step."""
    file, name = run_file
    if name in ("sd1", "sdxl"):  # seconds and minutes; the recipe is resolved by the same call
        assert stated(resolve_to_show(read_run(file)).recipe.as_dict()) == expected(name)
        return
    done = tiny.snrlab("train", file, "--check", "--set", "data.resolution=64", cwd=file.parent)
    assert done.returncode == 0, done.stderr
    assert in_words(done.stdout + done.stderr) == expected(name)


def test_a_model_that_is_not_there_is_said(run_file, tmp_path):
    file, name = run_file
    if MODELS[name][0] is None:
        return
    text = file.read_text().replace(f"{name}.safetensors", "gone.safetensors")
    (tmp_path / "run.toml").write_text(text)
    message = "taken as SD 1.5, for it could not be read"
    assert message in tiny.snrlab("explain", tmp_path / "run.toml").stdout.split("What was asked")[0]
    assert message in tiny.snrlab("compare", tmp_path / "run.toml", "min_snr").stdout
    assert message in tiny.snrlab("table", tmp_path / "run.toml").stdout
    assert message in tiny.snrlab("plot", tmp_path / "run.toml", "-o", tmp_path / "a.svg").stderr


def test_what_contradicts_the_model_is_an_error_to_explain_too(run_file, tmp_path):
    file, name = run_file
    other = "epsilon" if expected(name)[2] == "v_prediction" else "v_prediction"
    text = file.read_text() + f'\n[recipe]\nprediction_type = "{other}"\n'
    if "[recipe]\n" in file.read_text():
        text = file.read_text().replace("[recipe]\n", f'[recipe]\nprediction_type = "{other}"\n')
    (tmp_path / "run.toml").write_text(text)
    done = json.loads(tiny.snrlab("explain", tmp_path / "run.toml", "--format", "json").stdout)
    codes = {finding["code"] for finding in done["findings"]}
    assert "model_disagrees" in codes


def test_a_recipe_that_states_everything_needs_no_model(tmp_path):
    """As that of a run folder, whose model may be on another machine."""
    run = {"model": {"path": str(tmp_path / "gone.safetensors")}, "data": {"folder": "images"}}
    recipe = {"schedule": "sd", "zero_terminal_snr": True, "prediction_type": "v_prediction"}
    resolved = resolve_to_show(parse_run(run | {"recipe": recipe}))
    assert (resolved.assumption, resolved.disagreement) == ("", "")
    assert stated(resolved.recipe.as_dict()) == ("sd", True, "v_prediction")
    for field in recipe:
        left_open = {name: value for name, value in recipe.items() if name != field}
        assert "could not be read" in resolve_to_show(parse_run(run | {"recipe": left_open})).assumption


def test_a_model_that_does_not_say_what_it_predicts_is_said(tmp_path):
    """Files of SD 2 for 512 and for 768 pixels hold the same tensors; train asks which it is."""
    file = tmp_path / "silent.safetensors"
    save_single_file(tiny_families.family("sd2"), file, None)
    file.write_bytes(file.read_bytes().replace(b"modelspec", b"otherspec"))
    run = {"model": {"path": str(file)}, "data": {"folder": "images"}}
    resolved = resolve_to_show(parse_run(run))
    assert "taken as epsilon. Training asks for recipe.prediction_type" in resolved.assumption
    assert resolved.recipe.prediction_type == "epsilon"
    assert not resolve_to_show(parse_run(run | {"recipe": {"prediction_type": "v_prediction"}})).assumption
