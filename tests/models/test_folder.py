"""Diffusers folders in the forms that people have them in, autoencoders by themselves, CLIP's tokenizer."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTokenizer

import tiny_families
from snrlab import UserError
from snrlab.model_files.header import read_header
from snrlab.models.clip import clip_tokenizer, vocabulary
from snrlab.models.storage.save_folder import save_folder
from snrlab.models.storage.save_single_file import save_single_file
from snrlab.models.storage.source import load_model


@pytest.fixture
def folder(tmp_path):
    """An SDXL folder in fp32."""
    path = tmp_path / "model"
    path.mkdir()
    save_folder(tiny_families.family("sdxl"), path, None)
    return path


def unet(model):
    return model.unet.state_dict()


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(t, other[n]) for n, t in one.items())


def weights(folder: Path, part: str = "unet") -> Path:
    return next((folder / part).glob("*.safetensors"))


def shard(folder):
    file = weights(folder)
    tensors = load_file(file)
    names, stem = sorted(tensors), file.stem
    for number, some in ((1, names[::2]), (2, names[1::2])):
        save_file({n: tensors[n] for n in some}, file.with_name(f"{stem}-0000{number}-of-00002.safetensors"))
    file.with_name(f"{file.name}.index.json").write_text("{}")
    file.unlink()


def variant(folder):
    for file in folder.glob("*/*.safetensors"):
        file.rename(file.with_name(f"{file.stem}.fp16.safetensors"))


def sharded_variant(folder):
    shard(folder)
    for file in (folder / "unet").glob("*.safetensors"):
        name, _, number = file.stem.partition("-")
        file.rename(file.with_name(f"{name}.fp16-{number}.safetensors"))


def two_variants(folder):
    """The plain one is taken, not the half one."""
    file = weights(folder)
    save_file(
        {n: torch.zeros_like(t) for n, t in load_file(file).items()}, file.with_name(f"{file.stem}.fp16.safetensors")
    )


def former_names(folder):
    """As autoencoders and text encoders were saved years ago."""
    file = weights(folder, "vae")
    new = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    tensors = load_file(file)
    for current, former in new.items():
        tensors = {n.replace(current, former): t for n, t in tensors.items()}
    assert any("proj_attn" in name for name in tensors)
    save_file(tensors, file)


def flat_names(folder):
    """As transformers 5 saves its text encoder."""
    file = weights(folder, "text_encoder")
    save_file({n.removeprefix("text_model."): t for n, t in load_file(file).items()}, file)


FORMS = (shard, variant, sharded_variant, two_variants, former_names, flat_names)


@pytest.mark.parametrize("form", FORMS, ids=lambda f: f.__name__)
def test_forms_of_folders(form, folder):
    before = load_model(folder)
    form(folder)
    after = load_model(folder)
    for part, network in before.networks.items():
        assert equal(network.state_dict(), after.networks[part].state_dict()), part


def test_text_encoders_are_saved_under_the_names_that_all_versions_read(folder):
    assert all(name.startswith("text_model.") for name in load_file(weights(folder, "text_encoder")))
    theirs = CLIPTextModel.from_pretrained(folder / "text_encoder", local_files_only=True)
    assert equal(load_model(folder).text_encoder.state_dict(), theirs.state_dict())


def edit(file: Path, **values):
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def pickled(folder):
    file = weights(folder)
    file.rename(file.with_suffix(".bin"))


def lacking(folder):
    file = weights(folder)
    save_file({n: t for n, t in load_file(file).items() if n != "conv_in.bias"}, file)


WRONG = {
    "pipeline": (
        lambda f: edit(f / "model_index.json", _class_name="StableDiffusionInpaintPipeline"), "allowed: Stable",
    ),
    "channels": (
        lambda f: edit(f / "vae" / "config.json", latent_channels=16), "where the model's config",
    ),
    "other vae": (lambda f: edit(f / "vae" / "config.json", _class_name="AutoencoderTiny"), "allowed: AutoencoderKL"),
    "pickle": (pickled, "is a pickle"),
    "lacking": (lacking, "lacks 1 of [0-9]+ tensors, such as conv_in.bias"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_folders(name, folder):
    spoil, message = WRONG[name]
    spoil(folder)
    with pytest.raises(UserError, match=message):
        load_model(folder)


def test_a_folder_of_an_inpainting_unet(folder):
    config, file = folder / "unet" / "config.json", weights(folder)
    edit(config, in_channels=9)
    save_file(load_file(file) | {"conv_in.weight": torch.zeros(8, 9, 3, 3)}, file)
    with pytest.raises(UserError, match="takes 9 channels, not the 4 of a latent"):
        load_model(folder)


def test_a_scheduler_that_leaves_the_prediction_type_out(folder):
    file = folder / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k != "prediction_type"}))
    model = load_model(folder)
    assert model.prediction_type == "epsilon"
    assert model.assumed == {"prediction_type"}
    assert "leaves it out" in model.prediction_source


@pytest.fixture
def other_vae():
    """An autoencoder of SDXL with other weights than the model's."""
    vae = tiny_families.family("sdxl").vae
    with torch.no_grad():
        for tensor in vae.parameters():
            tensor.add_(1)
    return vae


@pytest.mark.long
def test_a_separate_autoencoder(folder, other_vae, tmp_path):
    model = load_model(folder)
    save_folder(replace(model, vae=other_vae), folder_of(tmp_path / "whole"), None)
    save_single_file(replace(model, vae=other_vae), tmp_path / "whole.safetensors", None)
    prefix = "first_stage_model."
    alone = {n.removeprefix(prefix): t for n, t in load_file(tmp_path / "whole.safetensors").items() if prefix in n}
    save_file(alone, tmp_path / "alone.safetensors")
    diffusers = tmp_path / "whole" / "vae" / "diffusion_pytorch_model.safetensors"
    for source in ("whole", "whole/vae", "whole.safetensors", "alone.safetensors", diffusers):
        loaded = load_model(folder, vae=tmp_path / source)
        assert equal(loaded.vae.state_dict(), other_vae.state_dict()), source
        assert loaded.vae.config.scaling_factor == 0.13025
        assert equal(unet(loaded), unet(model))


def test_a_model_without_an_autoencoder_of_its_own(other_vae, tmp_path):
    whole, alone = tmp_path / "whole.safetensors", tmp_path / "vae.safetensors"
    save_single_file(tiny_families.family("sdxl"), whole, None)
    save_single_file(replace(tiny_families.family("sdxl"), vae=other_vae), alone, None)
    metadata = dict(read_header(whole).metadata)
    tensors = {n: t for n, t in load_file(whole).items() if not n.startswith("first_stage_model.")}
    save_file(tensors, whole, metadata)
    assert equal(load_model(whole, vae=alone).vae.state_dict(), other_vae.state_dict())


def folder_of(path):
    path.mkdir()
    return path


def test_wrong_autoencoders(folder, tmp_path):
    sd1 = folder_of(tmp_path / "sd1")
    save_folder(tiny_families.family("sd1"), sd1, None)
    save_file({"x.lora_down.weight": torch.zeros(1)}, tmp_path / "lora.safetensors")
    save_file({"encoder.down.0.block.0.conv1.bias": torch.zeros(4)}, tmp_path / "part.safetensors")
    for source, message in (
        (sd1, "has scaling_factor 0.18215, but the model was trained with 0.13025"),
        (tmp_path / "lora.safetensors", "holds no autoencoder; it is a LoRA"),
        (tmp_path / "part.safetensors", "it is not a complete autoencoder"),
        (tmp_path / "none", "there is no file or folder"),
    ):
        with pytest.raises(UserError, match=f"model.vae: .*{message}"):
            load_model(folder, vae=source)


def test_the_vocabulary_of_clip():
    words = vocabulary()
    assert len(words) == 49408
    assert [words[t] for t in ("!", "!</w>", "<|startoftext|>", "<|endoftext|>")] == [0, 256, 49406, 49407]
    assert sorted(words.values()) == list(range(49408))


def test_padding():
    def tokens(tokenizer, text):
        return tokenizer(text, padding="max_length", max_length=7, truncation=True).input_ids

    assert tokens(clip_tokenizer(), "a cat!") == [49406, 320, 2368, 256, 49407, 49407, 49407]
    assert tokens(clip_tokenizer("!"), "a cat!") == [49406, 320, 2368, 256, 49407, 0, 0], "! is a word, and padding"


def test_padding_of_a_tokenizer_from_a_folder(folder):
    plain = CLIPTokenizer.from_pretrained(folder / "tokenizer_2", local_files_only=True)
    assert plain("!").input_ids == [49406, 0, 49407], "what the library makes of it"
    ours = load_model(folder).tokenizer_2
    assert ours("!", padding="max_length").input_ids == [49406, 256, 49407] + 74 * [0]
