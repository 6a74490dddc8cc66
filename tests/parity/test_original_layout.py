"""Names and shapes of the full-size models, without their weights, against diffusers' own conversion."""

import pytest
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders import single_file_utils as theirs
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from snrlab.model_files.families import PARTS, config
from snrlab.models.layouts.original_layout import PREFIXES, diffusers_module, layout, sai_module

# tensors in diffusers, in the single file, and millions of weights
SIZES = {
    ("sd1", "unet"): (686, 686, 859.5),
    ("sd1", "vae"): (248, 248, 83.7),
    ("sd1", "text_encoder"): (196, 196, 123.1),
    ("sd2", "unet"): (686, 686, 865.9),
    ("sd2", "vae"): (248, 248, 83.7),
    ("sd2", "text_encoder"): (372, 280, 340.4),
    ("sdxl", "unet"): (1680, 1680, 2567.5),
    ("sdxl", "vae"): (248, 248, 83.7),
    ("sdxl", "text_encoder"): (196, 196, 123.1),
    ("sdxl", "text_encoder_2"): (517, 389, 694.7),
}


def empty(family, part):
    """A network without memory for its weights."""
    settings = config(family, part)
    with init_empty_weights(include_buffers=False):
        match part:
            case "unet":
                return UNet2DConditionModel.from_config(settings)
            case "vae":
                return AutoencoderKL.from_config(settings)
            case "text_encoder":
                return CLIPTextModel(CLIPTextConfig(**settings))
            case "text_encoder_2":
                return CLIPTextModelWithProjection(CLIPTextConfig(**settings))


def test_every_part_of_every_family_is_measured():
    assert set(SIZES) == {(family, part) for family, parts in PARTS.items() for part in parts}


@pytest.mark.parametrize(("family", "part"), SIZES, ids=lambda x: x)
def test_full_size(family, part):
    network, settings, prefix = empty(family, part), config(family, part), PREFIXES[family][part]
    ours = network.state_dict()
    entries = layout(part, ours, settings, family)
    file = {entry.name: entry.join(ours) for entry in entries}
    assert len(file) == len(entries)
    assert (len(ours), len(file), round(sum(t.numel() for t in ours.values()) / 1e6, 1)) == SIZES[family, part]
    back = {name: tensor for entry in entries for name, tensor in entry.split(file[entry.name]).items()}
    assert {k: v.shape for k, v in back.items()} == {k: v.shape for k, v in ours.items()}
    match part:
        case "unet":
            reference = theirs.convert_ldm_unet_checkpoint(dict(file), settings)
        case "vae":
            reference = theirs.convert_ldm_vae_checkpoint(dict(file), settings)
        case _ if prefix.endswith(".model."):
            reference = theirs.convert_open_clip_checkpoint(network, dict(file), prefix=prefix)
        case _:
            reference = theirs.convert_ldm_clip_checkpoint(dict(file), remove_prefix=prefix)
    # transformers 5 dropped the level `text_model` of one of its two classes
    shapes = {name.removeprefix("text_model."): tensor.shape for name, tensor in ours.items()}
    assert {name.removeprefix("text_model."): tensor.shape for name, tensor in reference.items()} == shapes


@pytest.mark.parametrize("family", PARTS)
def test_unet_names_there_and_back(family):
    settings = config(family, "unet")
    for name, module in empty(family, "unet").named_modules():
        if list(module.parameters(recurse=False)):
            assert diffusers_module(sai_module(name, settings), settings) == name
