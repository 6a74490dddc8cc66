"""The network as a function, in every number format, and where the networks that it does not need are."""

from dataclasses import replace

import pytest
import torch

import tiny_families
from snrlab.models.arithmetic import borrowed, release, with_precision
from snrlab.models.denoise import denoise, plain_sizes
from snrlab.models.encoding.encode import encode_text

pytestmark = pytest.mark.numeric

STEPS = torch.tensor([10, 900])
FAMILIES = ["sd1", "sd2", "sdxl"]


def latents():
    return torch.randn(2, 4, 8, 12, generator=torch.Generator().manual_seed(0))


def embed(model):
    with torch.no_grad():
        return encode_text(model, ["a cat", ""])


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_the_unet(family):
    model = tiny_families.family(family)
    text, x_t = embed(model), latents()
    extra = None
    if family == "sdxl":
        sizes = torch.tensor([[64, 96, 0, 0, 64, 96]] * 2)
        extra = {"text_embeds": text.pooled, "time_ids": sizes}
    with torch.no_grad():
        expected = model.unet(x_t, STEPS, text.hidden, added_cond_kwargs=extra).sample
        assert torch.equal(denoise(model, x_t, STEPS, text), expected)


def test_sdxl_is_told_sizes_and_crops():
    model = tiny_families.family("sdxl")
    text, x_t = embed(model), latents()
    assert plain_sizes(model, x_t).tolist() == [[64, 96, 0, 0, 64, 96]] * 2
    sizes = torch.tensor([[64.0, 96, 0, 0, 64, 96], [500, 700, 12, 0, 64, 96]])
    with torch.no_grad():
        plain, cropped = denoise(model, x_t, STEPS, text), denoise(model, x_t, STEPS, text, sizes)
    assert torch.allclose(plain[0], cropped[0], atol=1e-6)
    assert not torch.allclose(plain[1], cropped[1], atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("frozen", [True, False])
def test_half_precision(family, dtype, frozen):
    """Close to fp32 and not the same; weights that are trained stay in fp32, and so does the autoencoder."""
    exact = tiny_families.family(family)
    half = with_precision(tiny_families.family(family), dtype, frozen=frozen)
    stored = {name: network.dtype for name, network in half.networks.items()}
    assert stored.pop("vae") == torch.float32
    assert set(stored.values()) == {dtype if frozen else torch.float32}
    with torch.no_grad():
        text = encode_text(half, ["a cat", ""])
        output, expected = denoise(half, latents(), STEPS, text).float(), denoise(exact, latents(), STEPS, embed(exact))
    assert not torch.equal(output, expected)
    assert float((output - expected).norm() / expected.norm()) < 0.05


def test_released_networks_have_no_weights_and_those_for_later_come_back():
    model = tiny_families.family("sdxl")
    text = embed(model)
    size = sum(p.nbytes for p in model.vae.parameters())
    assert release(model, keep={"unet"}, later={"text_encoder", "text_encoder_2"}) == size
    assert {p.device.type for p in model.vae.parameters()} == {"meta"}
    assert model.latent_factor == 8
    cpu = torch.device("cpu")
    assert model.unet.device == model.text_encoder.device == cpu
    with borrowed(model, ("text_encoder", "text_encoder_2"), cpu):
        assert torch.equal(embed(model).hidden, text.hidden)


def test_the_arithmetic_of_a_model_is_that_of_its_weights_if_nothing_is_said():
    model = tiny_families.family("sd1")
    model.unet.to(torch.bfloat16)
    stated = replace(model, arithmetic=torch.bfloat16)
    with torch.no_grad():
        text = embed(model)
        assert torch.equal(denoise(model, latents(), STEPS, text), denoise(stated, latents(), STEPS, text))
