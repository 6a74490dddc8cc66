"""Samplers by name: diffusers' own pictures, the end that an ideal network knows, noise by seed alone, refusals."""

import inspect

import diffusers
import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

import tiny
import tiny_families
from snrlab import UserError
from snrlab.core.random_streams import stream
from snrlab.core.registries.samplers import SAMPLERS, check_sampler, sampler_named
from snrlab.core.schedule import SCHEDULES, zero_terminal_snr
from snrlab.pictures.png_metadata import request_parameters
from snrlab.pictures.requests import SampleRequest
from snrlab.pictures.sampling import RESCALE_AT_ZERO_SNR, draw_pictures, pipeline
from snrlab.pictures.schedulers import make_scheduler

SCHEDULE = SCHEDULES.bind("sd")()
every_sampler = pytest.mark.parametrize("name", SAMPLERS)


def drawn(wanted, schedule=SCHEDULE, prediction_type="epsilon", family="sd1", **kwargs):
    pipe = pipeline(tiny_families.family(family), schedule, prediction_type)
    return [np.asarray(picture, dtype=int) for picture in draw_pictures(pipe, wanted, **kwargs)]


def plain_picture(name, family="sd1", guidance_rescale=0.0, **schedule):
    """The picture of diffusers' pipeline and scheduler, which is made from SD's two numbers instead of our table."""
    model = tiny_families.family(family)
    parts = {part: getattr(model, part) for part in ("vae", "text_encoder", "tokenizer", "unet")}
    scheduler = getattr(diffusers, SAMPLERS[name].scheduler)(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, **{**SAMPLERS[name].arguments, **schedule}
    )
    if family == "sdxl":
        second = {"text_encoder_2": model.text_encoder_2, "tokenizer_2": model.tokenizer_2}
        plain = StableDiffusionXLPipeline(**parts, **second, scheduler=scheduler)
    else:
        plain = StableDiffusionPipeline(**parts, scheduler=scheduler, safety_checker=None, feature_extractor=None)
    noise = stream(7, "sample", 0, 2).standard_normal((1, 4, 4, 6))
    return np.asarray(plain(
        "a cat", negative_prompt="blurry", width=48, height=32, guidance_scale=4.0, num_inference_steps=5,
        latents=torch.tensor(noise, dtype=torch.float32), guidance_rescale=guidance_rescale,
        generator=torch.Generator().manual_seed(int(stream(7, "sampler", 0, 2).integers(2**63))),
    ).images[0], dtype=int)  # fmt: skip


def request_of(name):
    return SampleRequest("a cat", "blurry", 48, 32, 7, 4.0, 5, 2, name)


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "ddim"])
def test_a_picture_is_the_plain_pipelines(name):
    assert np.abs(drawn([request_of(name)])[0] - plain_picture(name)).max() <= 1


def test_a_picture_of_sdxl_is_the_plain_pipelines():
    mine = drawn([request_of("dpmpp_2m_sde_karras")], family="sdxl")[0]
    assert np.abs(mine - plain_picture("dpmpp_2m_sde_karras", "sdxl")).max() <= 1


@pytest.mark.parametrize("name", [name for name, sampler in SAMPLERS.items() if sampler.zero_terminal])
def test_a_picture_without_terminal_signal_is_the_plain_pipelines(name):
    """v prediction on the rescaled schedule, from trailing timesteps, as in arXiv:2305.08891."""
    mine = drawn([request_of(name)], zero_terminal_snr(SCHEDULE), "v_prediction")[0]
    options = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "prediction_type": "v_prediction"}
    if name == "ddim":
        options |= {"clip_sample": False, "set_alpha_to_one": False}
    assert np.abs(mine - plain_picture(name, guidance_rescale=RESCALE_AT_ZERO_SNR, **options)).max() <= 1


def end_for_one_picture(name, schedule, prediction_type, steps):
    """Where the sampler ends with the network that is right about data of a single picture, and that picture."""
    scheduler = make_scheduler(name, schedule, prediction_type)
    scheduler.set_timesteps(steps)
    x0 = torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(x0.shape, generator=generator) * scheduler.init_noise_sigma
    noise = {"generator": [generator]} if "generator" in inspect.signature(scheduler.step).parameters else {}
    for t in scheduler.timesteps:
        x_t = scheduler.scale_model_input(x, t)
        alpha = float(np.interp(float(t), np.arange(len(schedule.alpha)), schedule.alpha))
        sigma = (1 - alpha**2) ** 0.5
        eps = (x_t - alpha * x0) / sigma
        output = {"epsilon": eps, "v_prediction": alpha * eps - sigma * x0, "sample": x0}[prediction_type]
        x = scheduler.step(output, t, x, **noise).prev_sample
    return x, x0


@every_sampler
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("zero_terminal", [False, True])
def test_the_end_is_what_an_ideal_network_knows_or_a_refusal(name, prediction_type, zero_terminal):
    schedule = zero_terminal_snr(SCHEDULE) if zero_terminal else SCHEDULE
    sampler = SAMPLERS[name]
    if prediction_type not in sampler.predictions or (zero_terminal and not sampler.zero_terminal):
        with pytest.raises(UserError, match=f"the sampler is {name}, but .* Allowed: ddim, euler"):
            make_scheduler(name, schedule, prediction_type)
        return
    if zero_terminal and prediction_type == "epsilon":
        pytest.skip("a network that predicts the noise says nothing where all is noise")
    end, x0 = end_for_one_picture(name, schedule, prediction_type, 24)
    left = float(SCHEDULE.sigma[0]) * 4  # DDIM ends at the first timestep, not before it
    assert (end - x0).abs().max() < {"ddim": left, "pndm": 0.3}.get(name, 1e-4)


@pytest.mark.parametrize("name", [name for name, sampler in SAMPLERS.items() if sampler.noise])
def test_the_noise_of_the_steps_is_the_pictures_own(name):
    asked = [SampleRequest("a cat", width=16, height=16, seed=3, steps=3, place=p, sampler=name) for p in range(2)]
    first, second = drawn(asked)
    assert np.abs(drawn(asked[1:])[0] - second).max() <= 1, "alone"
    assert np.abs(drawn(asked[::-1])[0] - second).max() <= 1, "in another order"
    assert not np.array_equal(first, second)


@every_sampler
def test_whether_the_steps_add_noise_is_as_stated(name):
    scheduler = make_scheduler(name, SCHEDULE, "epsilon")

    def end(seed):
        scheduler.set_timesteps(3)
        x = torch.ones(1, 4, 8, 8) * scheduler.init_noise_sigma
        generator = torch.Generator().manual_seed(seed)
        noise = {"generator": generator} if "generator" in inspect.signature(scheduler.step).parameters else {}
        for t in scheduler.timesteps[: -1 or None]:
            x = scheduler.step(torch.ones_like(x) * 0.1, t, x, **noise).prev_sample
        return x

    assert torch.equal(end(0), end(1)) != SAMPLERS[name].noise


def test_pictures_of_one_call_may_have_samplers_of_their_own():
    asked = [SampleRequest("a", width=16, height=16, steps=4, sampler=name) for name in ("ddim", "euler", "ddim")]
    first, euler, last = drawn(asked)
    assert np.array_equal(first, last)
    assert not np.array_equal(first, euler)


def test_every_name_means_one_sampler():
    stated = [(name, s.name) for s in SAMPLERS.values() for name in (s.name, s.title, s.title.lower(), *s.kohya)]
    for name, meant in stated:
        assert sampler_named(name).name == meant, name
    kohya = "ddim pndm euler euler_a heun dpm_2 dpm_2_a dpmsolver++ dpmsingle k_euler k_euler_a k_dpm_2 k_dpm_2_a"
    assert {name for s in SAMPLERS.values() for name in s.kohya} == set(kohya.split())
    onetrainer = [s.onetrainer for s in SAMPLERS.values() if s.onetrainer]
    plain = ["EULER", "DPMPP", "DPMPP_SDE", "UNIPC"]
    assert sorted(onetrainer) == sorted([*plain, *(f"{name}_KARRAS" for name in plain), "DDIM", "EULER_A"])


@pytest.mark.parametrize("name", ["lms", "dpmsolver", "DPM++ 2S a", "DPM++ 3M SDE Karras", "LCM"])
def test_another_programs_sampler_names_the_nearest(name):
    with pytest.raises(UserError, match=r"does not have. The nearest here is (\w+)\.") as refusal:
        sampler_named(name)
    assert str(refusal.value).split()[-1].strip(".") in SAMPLERS


def test_karras_has_no_start_where_all_is_noise():
    with pytest.raises(UserError, match="Karras' noise levels would start at infinity"):
        check_sampler("euler_karras", "v_prediction", zero_terminal=True)


def test_scaled_noise_is_of_ddim_alone():
    from snrlab.config.load import parse_section
    from snrlab.config.sections.output import SampleConfig

    for section in ({"sampler": "euler"}, {"prompts": ["a --ss euler"]}):
        with pytest.raises(UserError, match=r"^sample: epsilon_scaling is 1.01, but the sampler is euler"):
            parse_section({"epsilon_scaling": 1.01, **section}, SampleConfig, "sample")
    with pytest.raises(UserError, match="only ddim scales"):
        drawn([SampleRequest("a", width=16, height=16, steps=2, sampler="euler")], epsilon_scaling=1.01)


def test_a_picture_says_its_sampler_as_a1111_does():
    text = request_parameters(SampleRequest("a", sampler="dpmpp_2m_sde_karras"), "m")
    assert "Steps: 25, Sampler: DPM++ 2M SDE Karras, CFG scale: 5" in text


def test_the_command_takes_a1111s_names(tiny_model, tmp_path):
    out = tmp_path / "a.png"
    asked = ("sample", tiny_model, "--prompt", "a", "--steps", 2, "--out", out)
    done = tiny.snrlab(*asked, "--sampler", "Euler a")
    assert done.returncode == 0, done.stderr
    from PIL import Image

    with Image.open(out) as written:
        assert "Sampler: Euler a," in written.text["parameters"]
    done = tiny.snrlab(*asked, "--sampler", "euler_aa")
    assert done.returncode == 2
    assert "--sampler: 'euler_aa' is not known. Did you mean 'euler_a'?" in " ".join(done.stderr.split())
