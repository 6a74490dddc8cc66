"""Single files: every tensor comes back equal to the bit, and other programs read what we write."""

from dataclasses import replace

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file

import tiny
import tiny_families
from snrlab import UserError
from snrlab.model_files.header import read_header
from snrlab.models.storage.save_folder import save_folder
from snrlab.models.storage.save_single_file import save_single_file
from snrlab.models.storage.source import load_model

FAMILIES = ("sd1", "sd2", "sdxl")
EMBEDDINGS = "cond_stage_model.transformer.text_model.embeddings"
# what real files hold beside the networks
EXTRAS = {
    "sd1": {
        f"{EMBEDDINGS}.position_ids": torch.arange(77)[None],
        "alphas_cumprod": torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0),
        "betas": torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2,
    },
    "sd2": {
        "cond_stage_model.model.logit_scale": torch.tensor(4.6),
        "cond_stage_model.model.text_projection": torch.eye(16),
        "cond_stage_model.model.transformer.resblocks.4.ln_1.weight": torch.ones(16),
    },
    "sdxl": {
        "conditioner.embedders.0.transformer.text_model.embeddings.position_ids": torch.arange(77)[None],
        "conditioner.embedders.1.model.logit_scale": torch.tensor(4.6),
    },
}


def same(one, other):
    """Whether two sets of tensors have the same names, formats and bits."""
    return one.keys() == other.keys() and all(
        a.dtype == other[n].dtype and a.shape == other[n].shape and torch.equal(a, other[n]) for n, a in one.items()
    )


def states(components):
    return {f"{part}.{n}": t for part, net in components.networks.items() for n, t in net.state_dict().items()}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One file a family, in fp16 as most are, with what real files have beside the networks."""
    folder = tmp_path_factory.mktemp("files")
    for family in FAMILIES:
        path = folder / f"{family}.safetensors"
        save_single_file(tiny_families.family(family), path, torch.float16)
        metadata = dict(read_header(path).metadata)
        save_file(load_file(path) | EXTRAS[family], path, metadata)
    return {family: folder / f"{family}.safetensors" for family in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES)
def test_file_to_model_to_file(family, files, tmp_path):
    random_state = torch.get_rng_state()
    model = load_model(files[family], None, None)
    assert torch.equal(torch.get_rng_state(), random_state), "no weights were drawn only to be thrown away"
    assert model.family == family
    save_single_file(model, tmp_path / "again.safetensors", None)
    assert same(load_file(files[family]), load_file(tmp_path / "again.safetensors"))


@pytest.mark.parametrize("family", FAMILIES)
def test_file_to_folder_to_file(family, files, tmp_path):
    save_folder(load_model(files[family], None, None), tmp_path, None)
    save_single_file(load_model(tmp_path, None, None), tmp_path / "again.safetensors", None)
    without_extras = {n: t for n, t in load_file(files[family]).items() if n not in EXTRAS[family]}
    assert same(without_extras, load_file(tmp_path / "again.safetensors"))


@pytest.mark.parametrize("family", FAMILIES)
def test_folder_to_file_to_folder(family, tmp_path):
    save_folder(tiny_families.family(family), tmp_path, None)
    before = load_model(tmp_path, None, None)
    save_single_file(before, tmp_path / "file.safetensors", None)
    after = load_model(tmp_path / "file.safetensors", None, None)
    assert same(states(before), states(after))
    for part, network in before.networks.items():
        for key in ("block_out_channels", "attention_head_dim", "scaling_factor", "hidden_act", "num_attention_heads"):
            ours, theirs = (getattr(n.config, key, None) for n in (after.networks[part], network))
            assert ours == theirs, (part, key)
    for name, tokenizer in before.tokenizers.items():
        text = "a Photo, of 2 cats!!"
        loaded = after.tokenizers[name]
        assert loaded(text, padding="max_length").input_ids == tokenizer(text, padding="max_length").input_ids


def test_formats_of_networks_and_autoencoder(files):
    model = load_model(files["sdxl"], torch.bfloat16)
    formats = {part: {t.dtype for t in net.state_dict().values()} for part, net in model.networks.items()}
    half = {torch.bfloat16}
    assert formats == {"unet": half, "text_encoder": half, "text_encoder_2": half, "vae": {torch.float32}}


@pytest.mark.parametrize("family", FAMILIES)
def test_diffusers_reads_our_file_and_draws_the_same(family, tmp_path):
    """Its own conversion of our file, with our folder's configs, against our networks."""
    model = tiny_families.family(family)
    save_folder(model, tmp_path / "folder", None)
    save_single_file(model, tmp_path / "file.safetensors", None)
    kind = StableDiffusionXLPipeline if family == "sdxl" else StableDiffusionPipeline
    theirs = kind.from_single_file(
        str(tmp_path / "file.safetensors"), config=str(tmp_path / "folder"), local_files_only=True
    )
    for part, network in model.networks.items():
        converted = {n.removeprefix("text_model."): t for n, t in getattr(theirs, part).state_dict().items()}
        ours = {n.removeprefix("text_model."): t for n, t in network.state_dict().items()}
        assert same(ours, converted), part


def test_diffusers_reads_our_folder(tmp_path):
    for family, kind in (("sd2", StableDiffusionPipeline), ("sdxl", StableDiffusionXLPipeline)):
        model = tiny_families.family(family)
        save_folder(model, tmp_path / family, torch.float16)
        pipe = kind.from_pretrained(tmp_path / family, local_files_only=True, torch_dtype=torch.float16)
        for part, network in model.networks.items():
            ours = {n.removeprefix("text_model."): t.half() for n, t in network.state_dict().items()}
            loaded = {n.removeprefix("text_model."): t for n, t in getattr(pipe, part).state_dict().items()}
            assert same(ours, loaded), part


@pytest.mark.parametrize(
    ("prediction_type", "zero", "marks"),
    [("epsilon", False, set()), ("v_prediction", False, {"v_pred"}), ("v_prediction", True, {"v_pred", "ztsnr"})],
)
def test_marks(prediction_type, zero, marks, tmp_path):
    model = tiny_families.family("sdxl", prediction_type, rescale_betas_zero_snr=zero)
    save_single_file(model, tmp_path / "m.safetensors", None, {"modelspec.title": "mine"})
    header = read_header(tmp_path / "m.safetensors")
    assert {name for name in ("v_pred", "ztsnr") if header.shapes.get(name) == (0,)} == marks
    assert header.metadata["modelspec.prediction_type"] == {"epsilon": "epsilon", "v_prediction": "v"}[prediction_type]
    assert header.metadata["modelspec.architecture"] == "stable-diffusion-xl-v1-base"
    assert header.metadata["modelspec.title"] == "mine"
    again = load_model(header.path)
    assert again.prediction_type == prediction_type
    assert bool(again.scheduler_config.get("rescale_betas_zero_snr")) == zero
    assert "prediction_type" not in again.assumed


def test_the_old_schedule_goes_where_another_was_trained(files, tmp_path):
    model = load_model(files["sd1"])
    assert "betas" in model.extras
    scheduler = model.scheduler_config | {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    save_single_file(replace(model, scheduler_config=scheduler), tmp_path / "m.safetensors", None)
    assert not {"betas", "alphas_cumprod"} & read_header(tmp_path / "m.safetensors").shapes.keys()


def test_averages_and_training_parts_are_left_behind(files, tmp_path):
    extra = {"model_ema.decay": torch.ones(()), "first_stage_model.loss.logvar": torch.ones(())}
    save_file(load_file(files["sd1"]) | extra, tmp_path / "m.safetensors", dict(read_header(files["sd1"]).metadata))
    assert load_model(tmp_path / "m.safetensors").extras.keys() == EXTRAS["sd1"].keys()


def test_early_files_without_a_level_of_names(files, tmp_path):
    tensors = {n.replace("transformer.text_model.", "transformer."): t for n, t in load_file(files["sd1"]).items()}
    save_file(tensors, tmp_path / "m.safetensors", dict(read_header(files["sd1"]).metadata))
    assert same(states(load_model(tmp_path / "m.safetensors")), states(load_model(files["sd1"])))


def changed(change):
    """A file whose tensors went through a function."""

    def spoil(source, target):
        tensors = load_file(source)
        change(tensors)
        save_file(tensors, target, dict(read_header(source).metadata))

    return spoil


def without(beginning):
    return changed(lambda tensors: [tensors.pop(n) for n in list(tensors) if n.startswith(beginning)])


BROKEN = {
    "one tensor gone": (
        without("model.diffusion_model.out.2.bias"),
        "tensors of its unet are missing, such as model.diffusion_model.out.2.bias",
    ),
    "no autoencoder": (without("first_stage_model."), "without a vae; give one as model.vae"),
    "no text encoder": (without("cond_stage_model."), "UNet without a text encoder"),
    "another layer": (
        changed(lambda t: t.update({"model.diffusion_model.input_blocks.19.0.weight": torch.zeros(1)})),
        "1 tensors more, such as model.diffusion_model.input_blocks.19.0.weight",
    ),
    "other width": (
        changed(lambda t: t.update({"model.diffusion_model.out.0.weight": torch.zeros(5)})),
        "has the shape [5], where the model's config asks for [8]",
    ),
    "inpainting": (
        changed(lambda t: t.update({"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(8, 9, 3, 3)})),
        "is an inpainting model: its UNet takes 9 channels",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_incomplete_files(name, files, tmp_path):
    spoil, message = BROKEN[name]
    spoil(files["sd1"], tmp_path / "m.safetensors")
    with pytest.raises(UserError) as error:
        load_model(tmp_path / "m.safetensors")
    assert message in str(error.value)
    assert str(error.value).startswith("model.path: ")


UNSAVABLE = {
    "own vocabulary": (lambda: tiny.components(), "has a vocabulary of its own"),
    "sample": (lambda: tiny_families.family("sd1", "sample"), "predicts sample"),
    "cosine": (
        lambda: tiny_families.family("sd1", beta_schedule="squaredcos_cap_v2"), "has another noise schedule",
    ),
    "unknown": (lambda: tiny_families.family("sd2", None), "does not say what it predicts"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNSAVABLE)
def test_what_a_single_file_cannot_hold(name, tmp_path):
    make, message = UNSAVABLE[name]
    with pytest.raises(UserError, match=message):
        save_single_file(make(), tmp_path / "m.safetensors", None)
    assert not list(tmp_path.iterdir())
