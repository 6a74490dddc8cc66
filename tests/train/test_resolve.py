"""What a model says of itself against what a run states."""

import pytest

import tiny_families
from snrlab import UserError
from snrlab.config import parse_run
from snrlab.model_files.resolve import resolve_to_train
from snrlab.models.storage.save_single_file import save_single_file
from snrlab.models.storage.source import load_model

V, ZERO = "v_prediction", {"zero_terminal_snr": True}


def silent(family):
    """A model of a file that says nothing of what it predicts."""

    def make(path):
        save_single_file(tiny_families.family(family), path, None)
        raw = path.read_bytes().replace(b"modelspec", b"otherspec")
        path.write_bytes(raw)
        assert "prediction_type" in load_model(path).assumed
        return load_model(path)

    return make


def saying(family, prediction_type, **scheduler):
    def make(path):
        save_single_file(tiny_families.family(family, prediction_type, **scheduler), path, None)
        return load_model(path)

    return make


def resolve(make, tmp_path, recipe, convert=False):
    path = tmp_path / "m.safetensors"
    config = parse_run(
        {"model": {"path": str(path), "convert": convert}, "data": {"folder": str(tmp_path)}, "recipe": recipe}
    )
    resolved = resolve_to_train(config, make(path).facts)[1]
    return resolved.prediction_type, resolved.noise_schedule().terminal_snr_is_zero


TAKEN = {
    "epsilon by convention": (silent("sdxl"), {}, ("epsilon", False)),
    "stated where the file is silent": (silent("sdxl"), {"prediction_type": V}, (V, False)),
    "and with zero terminal SNR": (silent("sdxl"), {"prediction_type": V} | ZERO, (V, True)),
    "sd 2 stated": (silent("sd2"), {"prediction_type": V}, (V, False)),
    "v by its key": (saying("sdxl", V), {}, (V, False)),
    "v that may end at zero": (saying("sdxl", V), ZERO, (V, True)),
    "both by their keys": (saying("sdxl", V, rescale_betas_zero_snr=True), {}, (V, True)),
}


@pytest.mark.parametrize("name", TAKEN)
def test_taken(name, tmp_path):
    make, recipe, expected = TAKEN[name]
    assert resolve(make, tmp_path, recipe) == expected


REFUSED = {
    "sd 2 says nothing": (silent("sd2"), {}, "recipe.prediction_type is not set, and m does not say"),
    "v against epsilon": (
        saying("sdxl", V), {"prediction_type": "epsilon"}, r"says it predicts v_prediction \(the file",
    ),
    "epsilon against v": (saying("sdxl", "epsilon"), {"prediction_type": V}, "says it predicts epsilon"),
    "other schedule": (silent("sdxl"), {"schedule": "cosine"}, "recipe.schedule differs from the schedule of m"),
    "zero against its key": (
        saying("sdxl", V, rescale_betas_zero_snr=True), {"zero_terminal_snr": False},
        "recipe.zero_terminal_snr differs",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_unless_converted(name, tmp_path):
    make, recipe, message = REFUSED[name]
    with pytest.raises(UserError, match=message):
        resolve(make, tmp_path, recipe)
    if recipe:
        assert resolve(make, tmp_path, recipe, convert=True)
