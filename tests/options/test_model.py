"""What the options of [model] change: the weights that are trained, what a UNet is told, the arithmetic, refusals."""

import numpy as np
import pytest
import torch

import tiny
import tiny_families
from effects import shows
from snrlab import UserError
from snrlab.config import parse_run
from snrlab.model_files.header import read_header
from snrlab.models.encode_rule import EncodeRule
from snrlab.models.storage.save_folder import save_folder
from snrlab.models.storage.source import shipped
from snrlab.pictures.sampling import draw_pictures, pipeline
from snrlab.train import runner
from snrlab.train.checks.run_findings import run_findings
from snrlab.train.job import prepare
from snrlab.train.loop import steps
from snrlab.train.outputs.export import export_result

CPU = torch.device("cpu")
SLOTS = np.arange(4)


@pytest.fixture(scope="module")
def sd1(tmp_path_factory):
    return tiny_families.save_family(tmp_path_factory.mktemp("sd1") / "sd1", "sd1")


@pytest.fixture(scope="module")
def long_captions(tmp_path_factory):
    folder = tiny.save_pictures(tmp_path_factory.mktemp("long") / "long", 4)
    for index, file in enumerate(sorted(folder.glob("*.txt"))):
        file.write_text("a red rectangle " * 30 + f"number {index}")  # 90 tokens before what differs
    return folder


def made(path, pictures, **model):
    return prepare(tiny.run_config(path, pictures, model=model))


def text_of(job):
    return job.examples.batch(job.components, 0, SLOTS, CPU).text.hidden


@shows("model.path")
def test_the_path_is_the_model_that_is_trained(tiny_model, sd1, pictures):
    one, other = made(tiny_model, pictures), made(sd1, pictures)
    assert one.components.label == tiny_model.name
    assert other.components.label == "sd1"
    expected = tiny_families.family("sd1").unet.conv_in.weight
    assert torch.equal(other.components.unet.conv_in.weight, expected)
    assert one.components.unet.conv_in.weight.shape == expected.shape
    assert not torch.equal(one.components.unet.conv_in.weight, expected)


@shows("model.shipped", "model.random")
def test_models_that_need_no_path(tiny_model, pictures):
    config = tiny.run_dict(tiny_model, pictures, data={"resolution": 32})
    by_name = {}
    for name, model in {
        "path": {"path": str(tiny_model)}, "small": {"shipped": "small"}, "small_v": {"shipped": "small_v"},
        "random": {"random": "small"}, "pixels": {"random": "pixels"},
    }.items():  # fmt: skip
        job = prepare(parse_run({**config, "model": model}))
        weight = job.components.unet.conv_in.weight
        by_name[name] = (job.components.label, job.recipe.prediction_type, job.components.latent_factor, weight.std())
    assert by_name["small"][1] == "epsilon"
    assert by_name["small_v"][1] == "v_prediction"
    assert by_name["pixels"][2] == 1
    assert torch.equal(job_weight("small"), shipped("small").unet.conv_in.weight)
    assert len({facts[3].item() for facts in by_name.values()}) == 5
    assert by_name["random"][0] == "snrlab-small"


def job_weight(name):
    job = prepare(parse_run({"model": {"shipped": name}, "data": {"shipped": "noto", "resolution": 64, "limit": 2}}))
    return job.components.unet.conv_in.weight


@shows("model.vae")
@pytest.mark.parametrize("kind", ["folder", "file"])
def test_another_autoencoder_makes_other_latents(kind, sd1, pictures, tmp_path):
    other = tiny_families.family("sd1")
    with torch.no_grad():
        for parameter in other.vae.parameters():
            parameter.mul_(1.5)
    save_folder(other, tmp_path, torch.float32)
    vae = tmp_path / "vae"
    path = vae if kind == "folder" else vae / "diffusion_pytorch_model.safetensors"
    unchanged, changed = made(sd1, pictures), made(sd1, pictures, vae=str(path))
    latents = [job.examples.batch(job.components, 0, SLOTS, CPU).x0 for job in (unchanged, changed)]
    assert not torch.allclose(*latents, atol=1e-2)
    assert torch.equal(unchanged.components.unet.conv_in.weight, changed.components.unet.conv_in.weight)


@shows("model.clip_skip")
def test_clip_skip_is_another_layer_in_training_and_in_pictures(sd1, pictures):
    jobs = [made(sd1, pictures), made(sd1, pictures, clip_skip=1), made(sd1, pictures, clip_skip=2)]
    plain, last, second_last = map(text_of, jobs)
    assert torch.equal(plain, last)
    assert not torch.allclose(plain, second_last, atol=1e-2)
    assert jobs[2].components.encode_rule == EncodeRule(clip_skip=2)


@pytest.mark.parametrize(
    ("family", "skip", "message"),
    [
        ("sd1", 9, r"clip_skip is 9; the text encoder of sd1 has 4 layers"),
        ("sd2", 2, r"clip_skip is 2, but sd2 is an SD 2 model, which always takes its text encoder's second last"),
        ("sdxl", 1, r"clip_skip is 1, but sdxl is an SDXL model"),
    ],
)
def test_a_layer_that_cannot_be_chosen_is_refused(family, skip, message, pictures, tmp_path):
    model = tiny_families.save_family(tmp_path / family, family)
    with pytest.raises(UserError, match=message):
        made(model, pictures, clip_skip=skip)


def test_sdxl_may_say_what_it_does_anyway(pictures, tmp_path):
    model = tiny_families.save_family(tmp_path / "sdxl", "sdxl")
    job = made(model, pictures, clip_skip=2)
    assert job.components.encode_rule == EncodeRule()
    batch = job.examples.batch(job.components, 0, SLOTS, CPU)
    assert batch.text.hidden.shape == (4, 77, 40)
    assert batch.text.pooled.shape == (4, 24)
    assert batch.sizes.shape == (4, 6)


@shows("model.max_tokens")
def test_more_tokens_tell_long_captions_apart(sd1, long_captions, tmp_path):
    jobs = {tokens: made(sd1, long_captions, max_tokens=tokens) for tokens in (75, 150, 225)}
    shapes = {tokens: text_of(job).shape[1] for tokens, job in jobs.items()}
    assert shapes == {75: 77, 150: 152, 225: 227}
    different = {tokens: not torch.equal(*text_of(job)[:2]) for tokens, job in jobs.items()}
    assert different == {75: False, 150: True, 225: True}
    codes = {tokens: [f.code for f in run_findings(job)] for tokens, job in jobs.items()}
    assert "captions_cut" in codes[75]
    assert "captions_cut" not in codes[150]
    facts = {}
    for tokens, job in jobs.items():
        export_result(job, tmp_path / f"{tokens}.safetensors", 0)
        facts[tokens] = read_header(tmp_path / f"{tokens}.safetensors").metadata["ss_max_token_length"]
    assert facts == {75: "None", 150: "150", 225: "225"}


@shows("model.precision")
@pytest.mark.parametrize("method", ["lora", "full"])
def test_precision_is_that_of_the_arithmetic_and_of_frozen_weights(method, sd1, pictures):
    train = {"method": method, "steps": 2, "checkpoint_every": 2}
    losses = {}
    for precision in ("fp32", "bf16", "fp16"):
        # torch's half-precision gradient of a convolution is now and then nan on latents smaller than its kernel
        data, model = {"resolution": 64}, {"precision": precision}
        job = prepare(tiny.run_config(sd1, pictures, data=data, model=model, train=train))
        half = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        assert job.components.unet.conv_in.weight.dtype == (half if method == "lora" else torch.float32)
        assert {p.dtype for p in job.parameters.values()} == {torch.float32}
        before = {name: p.detach().clone() for name, p in job.parameters.items()}
        losses[precision] = [step.mse for step in steps(job)]
        assert any(not torch.equal(p, before[name]) for name, p in job.parameters.items())
        assert (job.loss_scale.value > 1) == (precision == "fp16")
        assert ("fp16_on_cpu" in [f.code for f in job.findings]) == (precision == "fp16")
    for precision in ("bf16", "fp16"):
        assert not torch.equal(losses[precision][0], losses["fp32"][0])
        assert torch.allclose(losses[precision][0], losses["fp32"][0], rtol=0.05)


@shows("model.probe", "model.convert")
def test_the_probe_refuses_what_convert_or_nobody_asked_for(pictures, tmp_path):
    """The shipped v model in a folder that says epsilon."""
    model = shipped("small_v")
    model.scheduler_config.update(prediction_type="epsilon", rescale_betas_zero_snr=False)
    save_folder(model, tmp_path, torch.float32)
    data = {"resolution": 32}
    with pytest.raises(UserError, match="at high noise is v_prediction"):
        prepare(tiny.run_config(tmp_path, pictures, data=data))
    unlooked = prepare(tiny.run_config(tmp_path, pictures, data=data, model={"probe": False}))
    assert unlooked.recipe.prediction_type == "epsilon"
    recipe = {"prediction_type": "v_prediction"}
    with pytest.raises(UserError, match="says it predicts epsilon"):
        prepare(tiny.run_config(tmp_path, pictures, data=data, recipe=recipe))
    converted = prepare(tiny.run_config(tmp_path, pictures, data=data, recipe=recipe, model={"convert": True}))
    assert converted.recipe.prediction_type == "v_prediction"


def test_networks_that_nothing_needs_any_more_are_gone(sd1, pictures):
    """A LoRA of the UNet: encoders have no weights left, but wait where pictures are drawn."""
    bare = made(sd1, pictures)
    assert {n.device.type for part, n in bare.components.networks.items() if part != "unet"} == {"meta"}
    config = {"prompts": ["a"], "steps": 2}
    drawing = prepare(tiny.run_config(sd1, pictures, sample=config))
    assert {n.device.type for n in drawing.components.networks.values()} == {"cpu"}
    pipe = pipeline(drawing.components, drawing.draws.tables.schedule, "epsilon")
    assert len(draw_pictures(pipe, drawing.config.sample, 16)) == 1
    trained = prepare(tiny.run_config(sd1, pictures, train={"text_encoder": True}))
    assert trained.components.text_encoder.device.type == "cpu"
    assert trained.components.vae.device.type == "meta"
    whole = prepare(tiny.run_config(sd1, pictures, train={"method": "full"}))
    assert {n.device.type for n in whole.components.networks.values()} == {"cpu"}


@pytest.mark.parametrize("family", ["sd2", "sdxl"])
def test_a_lora_of_every_family_is_trained_and_drawn(family, pictures, tmp_path):
    model = tiny_families.save_family(tmp_path / family, family, "v_prediction")
    sample_ = {"prompts": ["a --w 16 --h 32"], "steps": 2}
    config = tiny.run_config(
        model, pictures, train={"steps": 2, "checkpoint_every": 2}, sample=sample_, validation={"images": 2},
        model={"max_tokens": 150},
    )  # fmt: skip
    outcome = runner.run(config, tmp_path / "runs")
    assert outcome.finished
    assert outcome.folder.result(outcome.config).is_file()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"path": "a", "shipped": "small"}, "model: give one of path"),
        ({"shipped": "small", "vae": "b"}, "model: vae replaces the autoencoder of path"),
        ({"path": "a", "max_tokens": 77}, "model.max_tokens is 77; allowed: 75, 150 or 225"),
        ({"path": "a", "precision": "float16"}, "model.precision is 'float16'; allowed"),
    ],
)
def test_what_does_not_go_together_is_refused(model, message):
    with pytest.raises(UserError, match=message):
        parse_run({"model": model, "data": {"shipped": "noto"}})
