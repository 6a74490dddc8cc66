"""Training by name: the recipes users pick, the files that come out, the folders they go into."""

import json
import re
import tomllib

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

import tiny
from snrlab import PERTURBATIONS, WEIGHTINGS, Recipe, UserError
from snrlab.evaluate.open_model import open_model
from snrlab.train import runner
from snrlab.train.job import prepare
from snrlab.train.loop import DivergedError, steps


def finish(config, out, **kwargs):
    return runner.run(config, out, **kwargs)


@pytest.mark.parametrize(
    "recipe",
    [
        {"weighting": ["min_snr:gamma=5"]},
        {"weighting": ["debiased"]},
        {"weighting": ["min_snr:gamma=5", "debiased"]},
        {"perturbation": "ip_noise:gamma=0.1"},
    ],
    ids=["min-snr", "debiased", "both", "ip-noise"],
)
def test_the_optimised_loss_can_be_recomputed(recipe, tiny_model, pictures, tmp_path):
    outcome = finish(tiny.run_config(tiny_model, pictures, recipe=recipe), tmp_path)
    weighting = tuple(WEIGHTINGS.parse(s) for s in recipe.get("weighting", []))
    perturbation = PERTURBATIONS.parse(recipe["perturbation"]) if "perturbation" in recipe else None
    table = Recipe(weighting=weighting, perturbation=perturbation).tables().weight
    for line in map(json.loads, outcome.folder.steps_file.read_text().splitlines()):
        t, mse = np.array(line["t"]), np.array(line["mse"])
        assert line["weight"] == pytest.approx(table[t], rel=1e-6)
        assert line["loss"] == pytest.approx(float((table[t] * mse).mean()), rel=1e-5)


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize(
    ("prediction_type", "scheduler"),
    [("epsilon", {}), ("v_prediction", {"rescale_betas_zero_snr": True}), ("sample", {})],
)
def test_prediction_types_of_the_family(method, prediction_type, scheduler, pictures, tmp_path):
    model = tiny.save_model(tmp_path / "model", prediction_type, **scheduler)
    config = tiny.run_config(
        model, pictures, train={"method": method, "steps": 2}, sample={"prompts": ["a"], "steps": 2}
    )
    outcome = finish(config, tmp_path)
    resolved = tomllib.loads(outcome.folder.config_file.read_text())["recipe"]
    assert resolved["prediction_type"] == prediction_type
    assert resolved["schedule"]["name"] == "sd"
    assert resolved["zero_terminal_snr"] == bool(scheduler)
    if method == "full":
        saved = json.loads((outcome.folder.path / "tiny" / "scheduler" / "scheduler_config.json").read_text())
        assert saved["prediction_type"] == prediction_type
        assert bool(saved.get("rescale_betas_zero_snr")) == bool(scheduler)


LAYERS = {
    "attention": "_attn1_to_q",
    "feed_forward": "_ff_net_0_proj",
    "convolution": "_resnets_0_conv1",
}


@pytest.mark.parametrize("layers", [["attention"], ["attention", "feed_forward"], ["convolution"], list(LAYERS)])
def test_layers_that_get_an_adapter(layers, tiny_model, pictures, tmp_path):
    config = tiny.run_config(tiny_model, pictures, train={"steps": 1}, lora={"rank": 2, "layers": layers})
    outcome = finish(config, tmp_path)
    keys = load_file(outcome.folder.result(outcome.config)).keys()
    for kind, part in LAYERS.items():
        assert any(part in key for key in keys) == (kind in layers), kind


@pytest.mark.parametrize("text_encoder", [False, True])
def test_the_lora_loads_in_diffusers_and_changes_the_picture(text_encoder, tiny_model, pictures, tmp_path, caplog):
    train = {"text_encoder": text_encoder, "steps": 20, "learning_rate": 3e-2}
    lora = {"rank": 2, "layers": list(LAYERS)}
    outcome = finish(tiny.run_config(tiny_model, pictures, train=train, lora=lora), tmp_path)
    file = outcome.folder.result(outcome.config)
    pipe = StableDiffusionPipeline.from_pretrained(tiny_model, safety_checker=None, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)

    def picture():
        latents = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
        return np.asarray(pipe("a", latents=latents, num_inference_steps=3, height=16, width=16).images[0], dtype=int)

    before = picture()
    with caplog.at_level("WARNING"):
        pipe.load_lora_weights(str(file))
    assert not [r for r in caplog.records if "unexpected key" in r.getMessage().lower()]
    loaded = {n for n, _ in pipe.unet.named_parameters() if "lora_" in n}
    loaded |= {f"text.{n}" for n, _ in pipe.text_encoder.named_parameters() if "lora_" in n}
    keys = [k for k in load_file(file) if k.endswith(".weight")]
    assert len(loaded) == len(keys), "every tensor of the file has found its place"
    assert any(k.startswith("lora_te_text_model_encoder_layers_") for k in keys) == text_encoder
    assert np.abs(picture() - before).max() > 0


def test_the_file_says_what_it_is_and_no_path(tiny_model, pictures, tmp_path):
    recipe = {"weighting": ["min_snr:gamma=3"], "perturbation": "ip_noise:gamma=0.1", "noise": "offset:strength=0.05"}
    outcome = finish(
        tiny.run_config(tiny_model, pictures, recipe=recipe, output={"dates": True, "precision": "fp16"}), tmp_path
    )
    with safe_open(str(outcome.folder.result(outcome.config)), framework="pt") as file:
        metadata = file.metadata()
        assert {file.get_tensor(k).dtype for k in file.keys()} == {torch.float16}  # noqa: SIM118
    assert metadata["ss_min_snr_gamma"] == "3.0"
    assert metadata["ss_ip_noise_gamma"] == "0.1"
    assert metadata["ss_noise_offset"] == "0.05"
    assert metadata["ss_network_dim"] == "2"
    assert metadata["ss_network_module"] == "networks.lora"
    assert metadata["modelspec.architecture"] == "stable-diffusion-v1/lora"
    assert metadata["modelspec.prediction_type"] == "epsilon"
    assert len(metadata["sshs_model_hash"]) == 64
    assert json.loads(metadata["snrlab.recipe"])["weighting"] == [{"name": "min_snr", "gamma": 3.0}]
    assert "modelspec.date" in metadata
    assert not [v for v in metadata.values() if str(tmp_path) in v or str(pictures) in v or str(tiny_model) in v]


def test_bf16(tiny_model, pictures, tmp_path):
    for method in ("lora", "full"):
        config = tiny.run_config(
            tiny_model,
            pictures,
            model={"precision": "bf16"},
            train={"method": method},
            sample={"prompts": ["a"], "steps": 2},
        )
        outcome = finish(config, tmp_path / method)
        lines = [json.loads(line) for line in outcome.folder.steps_file.read_text().splitlines()]
        plain = finish(
            tiny.run_config(tiny_model, pictures, train={"method": method}), tmp_path / f"{method}-32"
        ).folder.steps_file
        first = json.loads(plain.read_text().splitlines()[0])
        assert lines[0]["mse"] == pytest.approx(first["mse"], rel=0.05)


@pytest.mark.long
def test_it_learns(tiny_model, tmp_path):
    data = tiny.save_pictures(tmp_path / "eight", 8)
    train = {"method": "full", "steps": 150, "learning_rate": 3e-3, "batch_size": 8, "checkpoint_every": 1000}
    losses = [s.loss for s in steps(prepare(tiny.run_config(tiny_model, data, train=train)))]
    assert np.mean(losses[-20:]) < 0.6 * np.mean(losses[:5])


def test_a_run_that_diverges_stops_and_says_where(tiny_model, pictures, tmp_path):
    job = prepare(tiny.run_config(tiny_model, pictures))
    first = next(steps(job))
    kept = {n: p.detach().clone() for n, p in job.parameters.items()}
    job.examples.buckets[0].latents[0] = float("nan")

    def go_on():
        for _ in steps(job, first.index + 1):
            kept.update({n: p.detach().clone() for n, p in job.parameters.items()})

    with pytest.raises(DivergedError, match=r"step \d: the loss is not a finite number \(images 00.png; t \d+"):
        go_on()
    assert all(torch.equal(kept[n], p) for n, p in job.parameters.items())


def test_finished_runs_are_kept(tiny_model, pictures, tmp_path):
    config = tiny.run_config(tiny_model, pictures, train={"steps": 1})
    first = finish(config, tmp_path)
    bytes_of_first = first.folder.result(first.config).read_bytes()
    second = finish(config, tmp_path)
    assert second.folder.path.name == "tiny-2"
    assert (second.folder.path / "tiny-2.safetensors").is_file()
    assert first.folder.result(first.config).read_bytes() == bytes_of_first
    third = finish(config, tmp_path, resume=True)
    assert third.folder.path.name == "tiny-2", "already finished: nothing to do"


def test_unfinished_and_foreign_folders_are_refused(tiny_model, pictures, tmp_path, monkeypatch):
    config = tiny.run_config(tiny_model, pictures)
    monkeypatch.setattr(runner, "_train", lambda *a: (_ for _ in ()).throw(SystemExit))
    with pytest.raises(SystemExit):
        finish(config, tmp_path)
    monkeypatch.undo()
    with pytest.raises(UserError, match="holds an unfinished run"):
        finish(config, tmp_path)
    other = tiny.run_config(tiny_model, pictures, train={"learning_rate": 1e-3})
    with pytest.raises(UserError, match=r"train.learning_rate  0.01 +0.001"):
        finish(other, tmp_path, resume=True)
    (tmp_path / "other" / "tiny").mkdir(parents=True)
    (tmp_path / "other" / "tiny" / "thesis.doc").write_text("precious")
    for resume in (False, True):
        with pytest.raises(UserError, match="is not a run"):
            finish(config, tmp_path / "other", resume=resume)
    assert [file.name for file in (tmp_path / "other" / "tiny").iterdir()] == ["thesis.doc"]


@pytest.mark.parametrize("name", ["samples", "checkpoints", "logs", "report.html", "a.tmp"])
def test_a_result_is_never_where_a_run_keeps_something_else(name, tiny_model, pictures, tmp_path):
    """The run would be over before it began, or its result could not be written after all steps."""
    config = tiny.run_config(tiny_model, pictures, name=name, train={"method": "full"})
    with pytest.raises(UserError, match=f"name is {name}, which is the name of one of the run's own files"):
        finish(config, tmp_path)
    assert not list(tmp_path.iterdir())


def test_its_own_run_toml_gives_the_same_run(tiny_model, pictures, tmp_path, monkeypatch):
    outcome = finish(tiny.run_config(tiny_model, pictures, recipe={"weighting": ["min_snr"]}), tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    from snrlab.config import read_run

    again = finish(read_run(outcome.folder.config_file), tmp_path / "b")
    one, other = (o.folder.result(o.config).read_bytes() for o in (outcome, again))
    assert one == other


def test_model_and_config_must_agree(tiny_model, pictures, tmp_path):
    for recipe, field in (
        ({"prediction_type": "v_prediction"}, "recipe.prediction_type"),
        ({"prediction_type": "v_prediction", "zero_terminal_snr": True}, "recipe.prediction_type"),
        ({"schedule": "ddpm_linear"}, "recipe.schedule"),
    ):
        with pytest.raises(UserError, match=field):
            finish(tiny.run_config(tiny_model, pictures, recipe=recipe), tmp_path)
    assert not list(tmp_path.iterdir()), "nothing half-written"
    recipe = {"prediction_type": "v_prediction", "zero_terminal_snr": True}
    config = tiny.run_config(
        tiny_model, pictures, recipe=recipe, model={"convert": True}, train={"method": "full", "steps": 1}
    )
    outcome = finish(config, tmp_path)
    saved = json.loads((outcome.folder.path / "tiny" / "scheduler" / "scheduler_config.json").read_text())
    assert saved["prediction_type"] == "v_prediction"
    assert saved["rescale_betas_zero_snr"] is True
    with pytest.raises(UserError, match="flow_prediction cannot be trained"):
        prepare(tiny.run_config(tiny_model, pictures, recipe={"prediction_type": "flow_prediction"}))


def test_samples_and_report(tiny_model, pictures, tmp_path):
    config = tiny.run_config(
        tiny_model,
        pictures,
        sample={"prompts": ["red <b>", "blue"], "every": 3, "steps": 2},
        output={"dates": True, "report": True},
    )
    outcome = finish(config, tmp_path)
    grids = sorted(p.name for p in outcome.folder.samples.glob("*.png"))
    assert grids == ["step-00000000.png", "step-00000003.png", "step-00000006.png"]
    with Image.open(outcome.folder.samples / grids[0]) as image:
        assert image.size == (32, 16)
        assert image.text["parameters"].startswith("red <b> | blue\nNegative prompt: \nSteps: 2, Sampler: DDIM")
    report = outcome.folder.report.read_text()
    assert "red &lt;b&gt;" in report
    assert str(tiny_model) not in report
    assert str(pictures) not in report
    assert len(re.findall(r'<img[^>]* src="data:image/png;base64,', report)) == 6, "two prompts at three steps"
    assert "http" not in report.replace("http://www.w3.org", ""), "opens offline"


def test_sampling_what_was_saved(tiny_model, pictures, tmp_path):
    outcome = finish(
        tiny.run_config(tiny_model, pictures, train={"learning_rate": 3e-2}, sample={"prompts": ["a"], "steps": 2}),
        tmp_path,
    )
    from snrlab.pictures.sampling import draw_pictures

    def draw(source, lora=None, strength=1.0):
        saved = open_model(source, lora)
        saved.use("final" if saved.adapters else None, strength)
        return np.asarray(draw_pictures(saved.pipe, outcome.config.sample, saved.resolution)[0], dtype=int)

    file = outcome.folder.result(outcome.config)
    with Image.open(max(outcome.folder.samples.iterdir())) as grid:
        trained = np.asarray(grid, dtype=int)
    assert np.abs(draw(outcome.folder.path) - trained).max() <= 1
    assert np.abs(draw(tiny_model, file) - trained).max() <= 1
    assert np.array_equal(draw(tiny_model, file, 0.0), draw(tiny_model))
    assert not np.array_equal(draw(tiny_model), trained)
