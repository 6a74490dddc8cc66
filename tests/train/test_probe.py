"""The probe names what a model predicts: shipped, trained, full-size by construction; and knows when it cannot."""

import json

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel

import tiny
import tiny_families
from snrlab import UserError
from snrlab.core.schedule import SCHEDULES, zero_terminal_snr
from snrlab.data import emoji
from snrlab.model_files import families
from snrlab.models.components import Components
from snrlab.models.encoding.encode import TextEmbeddings, encode_captions, encode_pixels
from snrlab.models.networks import empty_network
from snrlab.models.small.build import build
from snrlab.models.storage.source import shipped
from snrlab.train.job import prepare
from snrlab.train.loop import steps
from snrlab.train.probe import Probe, probe
from snrlab.train.step.batch import Batch

SD = SCHEDULES.bind("sd")()
CPU = torch.device("cpu")


def shipped_pictures(model, count=4):
    style = emoji.styles()[0]
    captions = [concept.name for concept in emoji.concepts(style)[:count]]
    return Batch(encode_pixels(model, emoji.images(style)[:count], CPU), encode_captions(model, captions))


def smooth_pictures(text, contrast=1.0):
    """Latents of a picture without fine detail, as a batch of one."""
    coarse = torch.randn(1, 4, 3, 3, generator=torch.Generator().manual_seed(3))
    x0 = torch.nn.functional.interpolate(coarse, size=(16, 16), mode="bicubic", align_corners=True)
    return Batch(contrast * x0 / x0.std(), text)


@pytest.mark.parametrize(("name", "predicts"), [("small", "epsilon"), ("small_v", "v_prediction")])
def test_the_shipped_models_from_one_picture_at_a_time(name, predicts):
    model = shipped(name)
    model.freeze()
    schedule = zero_terminal_snr(SD) if name == "small_v" else SD
    pictures = shipped_pictures(model)
    batches = [Batch(pictures.x0[i : i + 1], pictures.text[i : i + 1]) for i in range(4)]
    probed = probe(model, schedule, batches)
    assert probed.prediction_type == predicts, probed.errors
    assert probed.errors[predicts] < 0.4
    assert probed.finding(model, predicts) is None
    other = {"epsilon": "v_prediction", "v_prediction": "epsilon"}[predicts]
    with pytest.raises(UserError, match=rf"would be trained on {other}, but what it does .* is {predicts} \(error"):
        probed.finding(model, other)


@pytest.mark.parametrize("kind", ["black", "grey", "noise"])
def test_pictures_that_the_shipped_models_never_saw(kind):
    """What a v model makes up of them is the opposite of their colours; the noise in its output tells all the same."""
    drawn = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3)).astype(np.uint8)
    pixels = {"black": np.zeros_like(drawn), "grey": np.full_like(drawn, 128), "noise": drawn}[kind]
    for name, predicts in (("small", "epsilon"), ("small_v", "v_prediction")):
        model = shipped(name)
        model.freeze()
        batch = Batch(encode_pixels(model, pixels, CPU), encode_captions(model, [""] * 4))
        probed = probe(model, zero_terminal_snr(SD) if name == "small_v" else SD, [batch])
        assert probed.prediction_type in (None, predicts), probed.errors


@pytest.mark.parametrize("seed", range(8))
def test_random_weights_do_not_tell(seed):
    model = build("small", seed)
    probed = probe(model, SD, [shipped_pictures(model, 2)])
    assert probed.prediction_type is None, probed.errors
    remark = probed.finding(model, "epsilon")
    assert remark.grade == "info"
    assert "cannot be told" in remark.message


def model_of_size_one(folder, prediction_type):
    """The tiny model with latents of about variance 1, as the real ones have."""
    tiny.save_model(folder, prediction_type)
    file = folder / "vae" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"scaling_factor": 4.0}))
    return folder


@pytest.mark.long
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_models_trained_a_little(prediction_type, tmp_path):
    """After some steps from random weights the probe knows what they were for, and on the way it is never wrong."""
    model = model_of_size_one(tmp_path / "model", prediction_type)
    data = tiny.save_pictures(tmp_path / "pictures", 8, 40)
    train = {"method": "full", "steps": 150, "learning_rate": 5e-3, "batch_size": 8, "lr_schedule": "constant"}
    job = prepare(tiny.run_config(model, data, train=train, data={"resolution": 32}))
    slots = np.arange(8)
    batches = [job.examples.batch(job.components, step, slots, CPU) for step in range(4)]
    assert probe(job.components, SD, batches).prediction_type is None
    for step in steps(job):
        if (step.index + 1) % 25 == 0:
            probed = probe(job.components, SD, batches)
            assert probed.prediction_type in (None, prediction_type), probed.errors
    assert probed.prediction_type == prediction_type, probed.errors


def empty_unet(name: families.Family, dtype: torch.dtype) -> UNet2DConditionModel:
    """A full-size UNet whose weights are all 0."""
    unet = empty_network("unet", families.config(name, "unet"))
    zeros = {key: torch.zeros(value.shape, dtype=dtype) for key, value in unet.state_dict().items()}
    unet.load_state_dict(zeros, assign=True)
    return unet.eval().requires_grad_(False)


def wire(unet: UNet2DConditionModel, sharp: float, smooth: float) -> None:
    """Make the output sharp x_t / rms(x_t) + smooth s / rms(s), s the mean of x_t over 3 x 3 places.

    Along the skip connection from the first convolution to the last: features f and -f next to each other, whose mean
    the norm leaves alone, and SiLU(u) - SiLU(-u) = u.
    """
    last = unet.up_blocks[-1].resnets[-1]
    width = unet.conv_in.out_channels
    per_group = width // unet.conv_norm_out.num_groups
    unet.conv_norm_out.weight.fill_(1)
    centre, mean = torch.zeros(3, 3), torch.full((3, 3), 1 / 9)
    centre[1, 1] = 1
    for group, (kernel, factor) in enumerate(((centre, sharp), (mean, smooth))):
        for c in range(4):
            for place, sign in ((c, 1.0), (4 + c, -1.0)):
                feature = group * per_group + place
                unet.conv_in.weight[feature, c] = sign * kernel
                last.conv_shortcut.weight[feature, last.in_channels - width + feature, 0, 0] = 1
                unet.conv_out.weight[c, feature, 1, 1] = sign * factor * (8 / per_group) ** 0.5


def empty_text(name: families.Family, unet: UNet2DConditionModel) -> TextEmbeddings:
    hidden = torch.zeros(1, 77, unet.config.cross_attention_dim)
    return TextEmbeddings(hidden, torch.zeros(1, 1280) if name == "sdxl" else None)


def whole(name: families.Family, unet: UNet2DConditionModel) -> Components:
    """The full-size UNet among parts that the probe does not use."""
    other = tiny_families.family(name)
    return Components(
        other.vae, other.text_encoder, other.tokenizer, unet, other.scheduler_config, f"full-size {name}",
        other.text_encoder_2, other.tokenizer_2,
    )  # fmt: skip


@pytest.mark.full_size
@pytest.mark.parametrize("name", ["sd1", "sd2", "sdxl"])
def test_full_size_models_whose_answer_is_known(name):
    """Of pale smooth pictures x_t is nearly the noise, of strong ones its local mean is nearly the picture: a network
    that returns the one predicts epsilon, the other sample, and the difference, in which less noise is left where there
    is less signal, v. All 0 says nothing."""
    unet = empty_unet(name, torch.bfloat16)
    model = whole(name, unet)
    for sharp, smooth, contrast, predicts in (
        (0.0, 0.0, 1.0, None), (1.0, 0.0, 0.5, "epsilon"), (0.0, 1.0, 3.0, "sample"), (1.2, -4.0, 1.0, "v_prediction")
    ):  # fmt: skip
        wire(unet, sharp, smooth)
        probed = probe(model, SD, [smooth_pictures(empty_text(name, unet), contrast)])
        assert probed.prediction_type == predicts, probed.errors


@pytest.mark.full_size
def test_a_full_size_model_with_random_weights_does_not_tell():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = UNet2DConditionModel.from_config(families.config("sd1", "unet")).to(torch.bfloat16)
    unet.requires_grad_(False)
    probed = probe(whole("sd1", unet), SD, [smooth_pictures(empty_text("sd1", unet))])
    assert probed.prediction_type is None, probed.errors


def test_the_margin():
    """A clear answer is far better than chance and than every other reading."""
    assert Probe({"epsilon": 0.4, "v_prediction": 0.7, "sample": 2.0}).prediction_type == "epsilon"
    assert Probe({"epsilon": 0.6, "v_prediction": 0.7, "sample": 2.0}).prediction_type is None
    assert Probe({"epsilon": 0.9, "v_prediction": 1.9, "sample": 2.0}).prediction_type is None


def test_a_model_that_says_the_wrong_thing_is_not_trained(tmp_path, pictures):
    """The shipped v model in a folder that says epsilon: refused with the way out, and each way out is open."""
    from snrlab.models.storage.save_folder import save_folder

    model = shipped("small_v")
    model.scheduler_config.update(prediction_type="epsilon", rescale_betas_zero_snr=False)
    folder = tmp_path / "liar"
    folder.mkdir()
    save_folder(model, folder, torch.float32)
    data = {"folder": str(pictures), "resolution": 32}
    with pytest.raises(UserError, match="at high noise is v_prediction") as refused:
        prepare(tiny.run_config(folder, pictures, data=data))
    assert 'Set recipe.prediction_type = "v_prediction" and model.convert = true' in str(refused.value)
    prepare(tiny.run_config(folder, pictures, data=data, model={"probe": False}))
    recipe = {"prediction_type": "v_prediction", "zero_terminal_snr": True}
    prepare(tiny.run_config(folder, pictures, data=data, model={"convert": True}, recipe=recipe))
