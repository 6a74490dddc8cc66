"""Pictures of every family: parity with diffusers' own pipelines, settings of each picture, prompts as captions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

import tiny
import tiny_families
from snrlab import UserError
from snrlab.config.sections.output import SampleConfig
from snrlab.core.random_streams import stream
from snrlab.core.schedule import SCHEDULES
from snrlab.evaluate.open_model import open_model
from snrlab.models.encode_rule import EncodeRule
from snrlab.pictures.ddim import sampler
from snrlab.pictures.grids import tiled
from snrlab.pictures.png_metadata import request_parameters, save_png
from snrlab.pictures.requests import SampleRequest
from snrlab.pictures.sampling import draw_pictures, pipeline

SCHEDULE = SCHEDULES.bind("sd")()


def drawn(model, wanted, prediction_type="epsilon", **kwargs):
    pictures = draw_pictures(pipeline(model, SCHEDULE, prediction_type), wanted, **kwargs)
    return [np.asarray(picture, dtype=int) for picture in pictures]


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_a_picture_is_the_plain_pipelines(family):
    """Same noise, same settings, another program's pipeline over the same networks: the same picture."""
    model = tiny_families.family(family)
    request = SampleRequest("a cat", "blurry", width=48, height=32, seed=7, guidance=4.0, steps=4)
    parts = {name: getattr(model, name) for name in ("vae", "text_encoder", "tokenizer", "unet")}
    parts["scheduler"] = sampler(SCHEDULE, "epsilon")
    if family == "sdxl":
        second = {"text_encoder_2": model.text_encoder_2, "tokenizer_2": model.tokenizer_2}
        plain = StableDiffusionXLPipeline(**parts, **second)
    else:
        plain = StableDiffusionPipeline(**parts, safety_checker=None, feature_extractor=None)
    noise = stream(7, "sample", 0, 0).standard_normal((1, 4, 4, 6))
    expected = plain(
        "a cat", negative_prompt="blurry", width=48, height=32, guidance_scale=4.0, num_inference_steps=4,
        latents=torch.tensor(noise, dtype=torch.float32),
    ).images[0]  # fmt: skip
    assert expected.size == (48, 32)
    assert np.abs(drawn(model, [request])[0] - np.asarray(expected, dtype=int)).max() <= 1


def test_a_section_draws_a_picture_for_each_prompt_from_its_own_noise():
    model = tiny_families.family("sd1")
    config = SampleConfig(prompts=["a", "b"], steps=2, seed=5, negative="c", guidance=3.0)
    asked = [SampleRequest(p, "c", 16, 16, 5, 3.0, 2, place) for place, p in enumerate("ab")]
    for one, other in zip(drawn(model, config, resolution=16), drawn(model, asked), strict=True):
        assert np.array_equal(one, other)


def test_each_picture_has_settings_of_its_own():
    model = tiny_families.family("sdxl")
    base = SampleRequest("a cat", width=32, height=32, steps=2, guidance=3.0)
    others = [
        replace(base, prompt="a dog"), replace(base, negative="a dog"), replace(base, seed=1), replace(base, place=1),
        replace(base, guidance=9.0), replace(base, steps=3),
    ]  # fmt: skip
    first, *rest, same = drawn(model, [base, *others, base])
    assert np.array_equal(first, same)
    for picture, request in zip(rest, others, strict=True):
        assert not np.array_equal(picture, first), request
    wide = drawn(model, [replace(base, width=64), replace(base, height=16), base])
    assert [picture.shape for picture in wide] == [(32, 64, 3), (16, 32, 3), (32, 32, 3)]
    assert np.abs(wide[2] - first).max() <= 1


def test_prompts_are_encoded_by_the_rule_of_the_captions():
    model = tiny_families.family("sd1")
    long = SampleRequest("a red cat " * 30 + "at sea", width=16, height=16, steps=2)
    cut = replace(long, prompt="a red cat " * 30 + "in town")

    def rule(**facts):
        return replace(model, encode_rule=EncodeRule(**facts))

    one, other = drawn(model, [long, cut])
    assert np.array_equal(one, other), "what is beyond 75 tokens is not read"
    one, other = drawn(rule(max_tokens=150), [long, cut])
    assert not np.array_equal(one, other)
    assert not np.array_equal(drawn(rule(clip_skip=2), [long])[0], drawn(model, [long])[0])
    loud = replace(long, prompt="a (cat:1.8)")
    assert not np.array_equal(drawn(rule(weighted=True), [loud])[0], drawn(model, [loud])[0])


def test_sizes_that_no_pipeline_draws_are_refused():
    with pytest.raises(UserError, match="sample width is 500 pixels; it must be a multiple of 8"):
        SampleRequest("a", width=500)


def test_half_precision_draws_nearly_the_same():
    exact = tiny_families.family("sdxl")
    half = tiny_families.family("sdxl")
    for name in ("unet", "text_encoder", "text_encoder_2"):
        half.networks[name].to(torch.bfloat16)
    request = SampleRequest("a cat", width=32, height=32, steps=2, guidance=2.0)
    one, other = drawn(exact, [request])[0], drawn(half, [request])[0]
    assert not np.array_equal(one, other)
    assert np.abs(one - other).mean() < 8


def test_a_picture_says_how_it_was_made_as_a1111_does(tmp_path):
    request = SampleRequest("a cat, (red:1.2)", "blurry", 48, 32, 7, 4.5, 20)
    text = request_parameters(request, "a model: mine", EncodeRule(clip_skip=2), epsilon_scaling=1.01)
    assert text == (
        "a cat, (red:1.2)\nNegative prompt: blurry\n"
        'Steps: 20, Sampler: DDIM, CFG scale: 4.5, Seed: 7, Size: 48x32, Model: "a model: mine", Clip skip: 2, '
        "Epsilon scaling: 1.01"
    )
    pictures = [tiny_picture(48, 32), tiny_picture(32, 48)]
    save_png(tiled(pictures), text, tmp_path / "a.png")
    from PIL import Image

    with Image.open(tmp_path / "a.png") as written:
        assert written.text["parameters"] == text
        assert written.size == (96, 48)
    plain = request_parameters(SampleRequest("a", place=3), "m")
    assert "Negative" not in plain
    assert plain.endswith("Size: 512x512, Model: m, Noise: 3")


def tiny_picture(width, height):
    from PIL import Image

    return Image.new("RGB", (width, height))


@pytest.mark.parametrize("family", ["sd2", "sdxl"])
def test_a_folder_of_the_family_opens_and_draws(family, tmp_path):
    model = tiny_families.save_family(tmp_path / family, family, "v_prediction")
    saved = open_model(model)
    assert saved.prediction_type == "v_prediction"
    picture = np.asarray(draw_pictures(saved.pipe, [SampleRequest("a", width=16, height=32, steps=2)])[0], dtype=int)
    assert picture.shape == (32, 16, 3)
    made = drawn(tiny_families.family(family), [SampleRequest("a", width=16, height=32, steps=2)], "v_prediction")
    assert np.abs(picture - made[0]).max() <= 1


def test_a_run_draws_as_it_was_trained(tiny_model, pictures, tmp_path):
    """What `snrlab sample` makes of a run is told captions by the run's rule."""
    from snrlab.train import runner

    config = tiny.run_config(tiny_model, pictures, model={"max_tokens": 150}, train={"steps": 1})
    folder = runner.run(config, tmp_path).folder
    assert open_model(folder.path).components.encode_rule == EncodeRule(max_tokens=150)
