"""Captions and pictures to what a UNet is told: parity with diffusers, kohya's law of long captions, weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from hypothesis import given
from hypothesis import strategies as st

import tiny
import tiny_families
from snrlab import UserError
from snrlab.models.clip import clip_tokenizer
from snrlab.models.encode_rule import EncodeRule
from snrlab.models.encoding.encode import decode_latents, encode_captions, encode_pixels, encode_text
from snrlab.models.encoding.tokens import token_count, token_limit, tokenize
from snrlab.models.encoding.weighted_captions import weighted_words

pytestmark = pytest.mark.numeric

CAPTIONS = ["", "a photo of a cat", "a cat " * 60]
CPU = torch.device("cpu")
TOKENIZERS = [clip_tokenizer(), clip_tokenizer("!")]


@pytest.fixture(scope="module", params=["sd1", "sd2", "sdxl"])
def model(request):
    made = tiny_families.family(request.param)
    made.freeze()
    return made


def ruled(model, **rule):
    return replace(model, encode_rule=EncodeRule(**rule))


def pipeline(model, **kwargs):
    kind = StableDiffusionXLPipeline if model.family == "sdxl" else StableDiffusionPipeline
    if model.family == "sdxl":
        kwargs |= {"text_encoder_2": model.text_encoder_2, "tokenizer_2": model.tokenizer_2}
    else:
        kwargs |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    parts = {name: getattr(model, name) for name in ("vae", "text_encoder", "tokenizer", "unet")}
    return kind(**parts, scheduler=None, **kwargs)


def said_by_diffusers(model, captions):
    """(hidden, pooled) of its own pipeline."""
    encoded = pipeline(model).encode_prompt(
        captions, device=CPU, num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    return (encoded[0], encoded[2]) if model.family == "sdxl" else (encoded[0], None)


def test_captions_are_encoded_as_diffusers_does(model):
    text = encode_text(model, CAPTIONS)
    hidden, pooled = said_by_diffusers(model, CAPTIONS)
    assert torch.equal(text.hidden, hidden)
    if pooled is None:
        assert text.pooled is None
    else:
        assert torch.equal(text.pooled, pooled)


@pytest.mark.parametrize("skip", [1, 2, 3])
def test_clip_skip_is_an_encoder_without_its_last_layers(skip):
    model = tiny_families.family("sd1")
    text = encode_text(ruled(model, clip_skip=skip), CAPTIONS)
    layers = model.text_encoder.encoder.layers
    del layers[len(layers) - skip + 1 :]
    assert torch.allclose(text.hidden, encode_text(model, CAPTIONS).hidden, atol=1e-6)
    if skip > 1:
        assert not torch.allclose(text.hidden, encode_text(tiny_families.family("sd1"), CAPTIONS).hidden, atol=1e-2)


def test_sd1_is_told_the_last_hidden_state_as_ever():
    model = tiny.components()
    ids = model.tokenizer(
        CAPTIONS,
        padding="max_length",
        truncation=True,
        max_length=model.tokenizer.model_max_length,
        return_tensors="pt",
    ).input_ids
    assert torch.equal(encode_text(model, CAPTIONS).hidden, model.text_encoder(ids)[0])


@pytest.mark.parametrize("max_tokens", [150, 225])
def test_a_long_caption_is_its_chunks_each_a_caption_of_its_own(model, max_tokens):
    """Chunks of 75 tokens with a beginning and an end each; the first beginning and the last end are kept."""
    chunks = max_tokens // 75
    words = [f"{a} {b}" for a in ("red", "tiny", "old") for b in ("cat", "hat", "sun", "sea", "tree")] * 9
    long = encode_text(ruled(model, max_tokens=max_tokens), [" ".join(words)])
    tokens = model.tokenizer(" ".join(words), truncation=True, max_length=max_tokens + 2).input_ids[1:-1]
    parts = [model.tokenizer.decode(tokens[i * 75 : (i + 1) * 75]) for i in range(chunks)]
    separate = encode_text(model, parts)
    assert long.hidden.shape == (1, max_tokens + 2, separate.hidden.shape[2])
    joined = [separate.hidden[0, :1], *separate.hidden[:, 1:-1], separate.hidden[-1, -1:]]
    assert torch.allclose(long.hidden[0], torch.cat(joined), atol=1e-6)
    if long.pooled is not None:
        assert torch.allclose(long.pooled, separate.pooled[:1], atol=1e-6)


WORDS = ["a", "red", "cat,", "(hat:1.2)", "!", "1girl", "supercalifragilistic"]


@given(words=st.lists(st.sampled_from(WORDS), max_size=120))
def test_every_chunk_has_a_beginning_its_tokens_an_end_and_padding(words):
    for tokenizer in TOKENIZERS:
        caption = " ".join(words)
        ids = tokenizer(caption, truncation=True, max_length=227).input_ids[1:-1]
        chunks = tokenize(tokenizer, [caption], EncodeRule(max_tokens=225)).ids
        assert chunks.shape == (3, 77)
        for i, chunk in enumerate(chunks.tolist()):
            mine = ids[i * 75 : (i + 1) * 75]
            filled = [tokenizer.pad_token_id] * (75 - len(mine))
            assert chunk == [tokenizer.bos_token_id, *mine, tokenizer.eos_token_id, *filled]


def test_how_long_a_caption_is_and_how_much_of_it_is_read():
    tokenizer, rule = TOKENIZERS[0], EncodeRule(max_tokens=150)
    assert token_count(tokenizer, "a cat " * 100, rule) == 200
    assert token_count(tokenizer, "a (cat:1.3)", rule) > token_count(
        tokenizer, "a (cat:1.3)", EncodeRule(weighted=True)
    )
    assert token_limit(tokenizer, rule) == 150
    assert (
        tokenize(tokenizer, ["a cat " * 75], rule).ids.tolist()
        == tokenize(tokenizer, ["a cat " * 99], rule).ids.tolist()
    )


def test_weights_scale_the_states_of_their_words_and_nothing_else(model):
    plain = encode_text(model, ["a red cat"])
    same = encode_text(ruled(model, weighted=True), ["a red cat"])
    assert torch.equal(same.hidden, plain.hidden)
    weighted = encode_text(ruled(model, weighted=True), ["a (red:1.5) cat"])
    factor = torch.ones(plain.hidden.shape[1])
    factor[2] = 1.5  # beginning, a, red
    assert torch.allclose(weighted.hidden, plain.hidden * factor[:, None])
    if plain.pooled is not None:
        assert torch.equal(weighted.pooled, plain.pooled)


def test_weights_reach_into_later_chunks(model):
    rule = {"weighted": True, "max_tokens": 150}
    caption = "a cat " * 40 + "(red:0.5)"  # token 80 of the caption, after the beginning
    plain = encode_text(ruled(model, max_tokens=150), [caption.replace("(red:0.5)", "red")])
    ratio = encode_text(ruled(model, **rule), [caption]).hidden / plain.hidden
    assert torch.allclose(ratio[0, 81], torch.tensor(0.5))
    assert torch.allclose(ratio[0, :81], torch.tensor(1.0))


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("plain", [("plain", 1.0)]),
        ("", [("", 1.0)]),
        ("(open", [("open", 1.1)]),
        ("((a:2)b)", [("a", 2.2), ("b", 1.1)]),
        ("[a] b", [("a", 1 / 1.1), (" b", 1.0)]),
        (r"\(a\) :)", [("(a) :)", 1.0)]),
        ("a:1.5)", [("a:1.5)", 1.0)]),
        ("(a)(b)", [("ab", 1.1)]),
        ("(a:-1)", [("a", -1.0)]),
    ],
)
def test_weights_in_captions(caption, expected):
    assert [(text, pytest.approx(weight)) for text, weight in expected] == weighted_words(caption)


def test_gradients_reach_the_encoders_that_are_read(model):
    for name in ("text_encoder", "text_encoder_2"):
        if name in model.networks:
            model.networks[name].requires_grad_(True)
    text = encode_text(ruled(model, max_tokens=150), CAPTIONS)
    (text.hidden.sum() + (0 if text.pooled is None else text.pooled.sum())).backward()
    for name in {"text_encoder", "text_encoder_2"} & set(model.networks):
        encoder = model.networks[name]
        body = getattr(encoder, "text_model", encoder)
        assert body.embeddings.token_embedding.weight.grad.abs().sum() > 0
        encoder.zero_grad()
        encoder.requires_grad_(False)


def test_captions_in_batches_are_the_captions_one_by_one(model):
    captions = [f"picture {i}" for i in range(40)]
    text = encode_captions(model, captions)
    last = encode_text(model, captions[-1:])
    assert torch.allclose(text.hidden[-1:], last.hidden, atol=1e-6)
    assert not text.hidden.requires_grad


def test_pictures_of_any_shape_and_batch():
    model = tiny_families.family("sd1")
    pixels = np.random.default_rng(0).integers(0, 255, (5, 16, 40, 3)).astype(np.uint8)
    latents = encode_pixels(model, pixels, CPU)
    assert latents.shape == (5, 4, 2, 5)
    assert torch.allclose(encode_pixels(model, pixels, CPU, batch_size=2), latents, atol=1e-6)
    assert torch.allclose(encode_pixels(model, pixels[3:4], CPU), latents[3:4], atol=1e-6)
    with pytest.raises(UserError, match=r"40 x 12; this model needs multiples of 8"):
        encode_pixels(model, pixels[:, :12], CPU)


def test_the_autoencoder_works_in_the_format_of_its_weights():
    model = tiny_families.family("sd1")
    pixels = np.random.default_rng(0).integers(0, 255, (2, 16, 16, 3)).astype(np.uint8)
    exact = encode_pixels(model, pixels, CPU)
    model.vae.to(torch.bfloat16)
    rough = encode_pixels(model, pixels, CPU)
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    assert torch.allclose(rough, exact, atol=0.1)


def test_latents_come_back_as_pictures():
    model = tiny_families.family("sdxl")
    latents = torch.randn(3, 4, 2, 5, generator=torch.Generator().manual_seed(0))
    pictures = decode_latents(model, latents, CPU)
    assert pictures.shape == (3, 3, 16, 40)
    assert torch.allclose(pictures, model.vae.decode(latents / model.vae.config.scaling_factor).sample, atol=1e-5)
