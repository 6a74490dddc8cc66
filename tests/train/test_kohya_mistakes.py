"""Mistakes that people bring from kohya's trainer: each meets what was found and what to do, and nothing is trained."""

import json
import shutil

import pytest
import tomlkit
import torch
from safetensors.torch import save_file

import tiny
from snrlab.cli import main
from snrlab.config import parse_run
from snrlab.config.option_tables.kohya import KOHYA_OPTIONS
from snrlab.config.run import RunConfig
from snrlab.model_files.model_facts import shipped_folder
from snrlab.runs.folder import RunFolder
from snrlab.train.checks import preflight, run_findings
from snrlab.train.job import prepare


@pytest.fixture
def place(tmp_path, tiny_model, pictures, monkeypatch):
    """An empty working folder, with a model and pictures beside it."""
    shutil.copytree(tiny_model, tmp_path / "model")
    shutil.copytree(pictures, tmp_path / "pictures")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def train(file, capsys, monkeypatch, *options):
    """What `snrlab train` says; it must fail and leave the working folder as it was."""
    monkeypatch.setattr("sys.argv", ["snrlab", "train", str(file), *options])
    with pytest.raises(SystemExit) as end:
        main()
    streams = capsys.readouterr()
    assert end.value.code == 2, streams.err
    assert "Traceback" not in streams.err
    return " ".join(streams.err.split())


def run_file(place, **sections):
    path = place / "run.toml"
    path.write_text(tomlkit.dumps(tiny.run_dict(place / "model", place / "pictures", **sections)))
    return path


SETTINGS = {
    "kohya's names": (
        {"train": {"max_train_steps": 10, "train_batch_size": 2}, "lora": {"network_dim": 4}},
        ["train.max_train_steps: that is kohya's name; here it is train.steps.", "here it is train.batch_size",
         "here it is lora.rank"],
    ),
    "a name in another section": ({"train": {"resolution": 512}}, ["it belongs elsewhere: data.resolution"]),
    "min_snr_gamma as a field": (
        {"recipe": {"min_snr_gamma": 5}}, ['here it is recipe.weighting = [{ name = "min_snr", gamma = 5.0 }]'],
    ),
    "an option that there is none of": ({"data": {"color_aug": True}}, ["image colours are never changed"]),
    "network_alpha 0": ({"lora": {"alpha": 0.0}}, ["lora.alpha is 0.0"]),
    "a number in quotes": ({"train": {"learning_rate": "1e-4"}}, ["train.learning_rate is '1e-4'"]),
    "resolution not a multiple": ({"data": {"resolution": 500}}, ["500", "multiple of 8"]),
    "batch larger than the images": (
        {"train": {"batch_size": 7}}, ["train.batch_size is 7, but there are only 6 images", "to 6 or less"],
    ),
    "a warm-up as long as the run": ({"train": {"steps": 5, "warmup": 5}}, ["it must be below steps, 5"]),
    "kohya's spelling of an optimizer": ({"train": {"optimizer": "AdamW8bit"}}, ["adamw8bit", "bitsandbytes"]),
    "a schedule that is an optimizer's": ({"train": {"lr_schedule": "adafactor"}}, ["adafactor"]),
    "a rate for what is not trained": (
        {"train": {"text_encoder_learning_rate": 5e-5}}, ["text_encoder_learning_rate is set", "text_encoder = true"],
    ),
    "a v model's flag on an epsilon model": (
        {"recipe": {"prediction_type": "v_prediction"}}, ["says it predicts epsilon"],
    ),
    "a wrong flag in a prompt": (
        {"sample": {"prompts": ["a", "b --w 500"]}}, ["prompt 2: --w (width) is 500; it must be a multiple of 8"],
    ),
    "a prompt file that is not there": ({"sample": {"prompts_file": "no.txt"}}, ["there is no file no.txt"]),
    "results of a rhythm that is none": (
        {"output": {"every": 2, "every_epochs": 1}}, ["every and every_epochs are both set"],
    ),
    "a tracker that is none": ({"log": {"trackers": ["all"]}}, ["'tensorboard', 'wandb', 'mlflow' or 'trackio'"]),
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_settings(name, place, capsys, monkeypatch):
    sections, fragments = SETTINGS[name]
    error = train(run_file(place, **sections), capsys, monkeypatch)
    for words in fragments:
        assert words in error
    assert not list((place / "work").iterdir())


def a_pickle(place):
    file = place / "model.ckpt"
    file.write_bytes(b"PK\x03\x04")
    return {"model": {"path": str(file)}}


def a_lora(place):
    tensors = {"lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": torch.zeros(2, 4)}
    save_file(tensors, place / "style.safetensors")
    return {"model": {"path": str(place / "style.safetensors")}}


def a_model_as_lora(place):
    return {"lora": {"start_from": str(place / "model" / "unet" / "diffusion_pytorch_model.safetensors")}}


def an_autoencoder(place):
    return {"model": {"path": str(place / "model" / "vae" / "diffusion_pytorch_model.safetensors")}}


def one_part_of_a_model(place):
    return {"model": {"path": str(place / "model" / "unet")}}


def out_inside_the_images(place):
    return {"data": {"folder": str(place)}}


FILES = {
    a_pickle: "is a pickle",
    a_lora: "is a LoRA, which goes on top of a model. Give the model that it was trained on",
    a_model_as_lora: "holds no LoRA weights",
    an_autoencoder: "A whole SD 1.5, SD 2 or SDXL model is needed",
    one_part_of_a_model: "has no model_index.json",
    out_inside_the_images: "would lie inside the image folder",
}


@pytest.mark.parametrize("spoil", FILES, ids=lambda f: f.__name__)
def test_files(spoil, place, capsys, monkeypatch):
    assert FILES[spoil] in train(run_file(place, **spoil(place)), capsys, monkeypatch)
    assert not list((place / "work").iterdir())


KOHYA_RUN = """
pretrained_model_name_or_path = "sd15.safetensors"
train_data_dir = "pictures"
[network]
network_module = "networks.lora"
network_dim = 32
network_args = ["conv_dim=8", "conv_alpha=4"]
[steps]
max_train_steps = 1600
min_snr_gamma = 5
some_fork_option = true
"""
KOHYA_DATASET = '[[datasets]]\nresolution = 512\n[[datasets.subsets]]\nimage_dir = "pictures"\n'
OTHERS = {
    "a run of kohya's": ("kohya.toml", KOHYA_RUN, [
        "kohya.toml has settings of kohya's trainer. To make a run file of them: snrlab import",
    ]),
    "a dataset file": ("set.toml", KOHYA_DATASET, ["is a dataset file of kohya's trainer", "dataset_config = "]),
    "settings of its GUI": ("gui.json", "{}", ["is JSON; a run file is TOML", "snrlab import", "snrlab init"]),
    "a model": ("sd15.safetensors", "x", ["holds weights; a run file is TOML", "snrlab import", "snrlab init"]),
    "a Windows path in double quotes": (
        "run.toml", '[data]\nfolder = "C:\\pictures"\n',
        ["not valid TOML", r"single quotes, as in folder = 'C:\pictures'"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_other_files_given_as_a_run(name, place, capsys, monkeypatch):
    file, text, fragments = OTHERS[name]
    (place / file).write_text(text)
    error = train(place / file, capsys, monkeypatch)
    for words in fragments:
        assert words in error


def test_the_image_folder_given_as_a_run(place, capsys, monkeypatch):
    assert "is a folder" in (error := train(place / "pictures", capsys, monkeypatch))
    assert "snrlab init" in error


def test_a_v_model_whose_flag_was_forgotten(place, capsys, monkeypatch):
    model = shutil.copytree(shipped_folder("small_v"), place / "v")
    file = model / "scheduler" / "scheduler_config.json"
    changed = {"prediction_type": "epsilon", "rescale_betas_zero_snr": False, "timestep_spacing": "leading"}
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))
    data = {"folder": None, "shipped": "noto", "resolution": 64, "limit": 16, "caption_dropout": 0.0}
    path = place / "run.toml"
    run = tiny.run_dict(model, place / "pictures", data=data)
    del run["data"]["folder"]
    path.write_text(tomlkit.dumps(run))
    error = train(path, capsys, monkeypatch)
    assert "what it does on your images at high noise is v_prediction" in error
    assert 'Set recipe.prediction_type = "v_prediction"' in error
    assert not list((place / "work").iterdir())


def test_a_run_that_was_stopped_is_not_begun_again_by_accident(place, capsys, monkeypatch):
    file = run_file(place, train={"steps": 2})
    folder = place / "work" / "runs" / "tiny"
    folder.mkdir(parents=True)
    shutil.copy(file, folder / "run.toml")
    assert "To go on with it: snrlab resume runs/tiny" in train(file, capsys, monkeypatch)


def test_what_is_allowed_and_seldom_meant_is_said(place):
    sections = {"train": {"steps": 1, "learning_rate": 1.0}}
    job = prepare(parse_run(tiny.run_dict(place / "model", place / "pictures", **sections)))
    warnings = " ".join(map(str, preflight.preflight(job, RunFolder(place / "work" / "tiny"))))
    assert "train.learning_rate is 1, and AdamW moves every weight by about that much" in warnings
    assert "show 4 of 6 images. For one epoch set train.steps to 2" in warnings
    assert {finding.grade for finding in run_findings.run_findings(job)} == {"warning"}


def fields():
    return {
        f"{section}.{name}"
        for section, field in RunConfig.model_fields.items()
        if hasattr(field.annotation, "model_fields")
        for name in field.annotation.model_fields
    }


def test_every_option_of_kohyas_that_has_a_field_names_one_that_exists():
    known = fields()
    for option in KOHYA_OPTIONS.values():
        if option.field:
            assert option.field in known or option.field in RunConfig.model_fields, option.name


@pytest.mark.parametrize(
    "option",
    [name for name, option in KOHYA_OPTIONS.items() if option.example],
)
def test_what_is_written_instead_of_an_option_is_a_valid_run(option):
    import tomllib

    section, _, name = KOHYA_OPTIONS[option].field.partition(".")
    value = tomllib.loads(f"value = {KOHYA_OPTIONS[option].example}")["value"]
    parse_run({"model": {"random": "small"}, "data": {"shipped": "noto"}, section: {name: value}})


def test_no_option_is_known_under_two_meanings_of_the_same_name():
    """A field of ours with kohya's own name means the same, so that the hint never leads away from it."""
    ours = {field.partition(".")[2]: field for field in fields()}
    for name, option in KOHYA_OPTIONS.items():
        if name in ours and option.field and not (option.note or option.example):
            assert option.field == ours[name] or option.field.endswith(f".{name}"), name
