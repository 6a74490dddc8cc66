"""What a file is and what it predicts, from headers such as real files have."""

import json
import struct

import pytest

from snrlab import UserError
from snrlab.model_files.header import read_header
from snrlab.model_files.recognise import recognise

UNET = {"model.diffusion_model.input_blocks.0.0.weight": [320, 4, 3, 3]}
SD1 = UNET | {"cond_stage_model.transformer.text_model.final_layer_norm.bias": [768]}
SD2 = UNET | {"cond_stage_model.model.ln_final.bias": [1024]}
XL = UNET | {"conditioner.embedders.1.model.ln_final.bias": [1280]}
V, ZERO = {"v_pred": [0]}, {"ztsnr": [0]}


def header_file(path, shapes, metadata=None):
    """A safetensors file of bytes without weights in them: one byte a tensor, whatever its shape."""
    content = {"__metadata__": metadata} if metadata else {}
    content |= {n: {"dtype": "U8", "shape": s, "data_offsets": [i, i + 1]} for i, (n, s) in enumerate(shapes.items())}
    text = json.dumps(content).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(len(shapes)))
    return path


KNOWN = {
    "sd1": (SD1, {}, "sd1", "epsilon", False, "Stable Diffusion 1.5 predicts epsilon unless a file says otherwise"),
    "sd1 v": (SD1 | V | ZERO, {}, "sd1", "v_prediction", True, "the key v_pred"),
    "sd2": (SD2, {}, "sd2", None, False, "files for 768 pixels predict v, those for 512 epsilon"),
    "sd2 v": (SD2, {"modelspec.architecture": "stable-diffusion-v2-768-v"}, "sd2", "v_prediction", False, "768-v"),
    "sd2 512": (SD2, {"modelspec.architecture": "stable-diffusion-v2-512"}, "sd2", "epsilon", False, "v2-512"),
    "xl": (XL, {}, "sdxl", "epsilon", False, "the file does not say"),
    "xl v": (XL | V, {}, "sdxl", "v_prediction", False, "the key v_pred"),
    "xl metadata": (XL, {"modelspec.prediction_type": "v"}, "sdxl", "v_prediction", False, "prediction_type = v"),
    "xl comfy": (XL, {"modelspec.predict_key": "epsilon"}, "sdxl", "epsilon", False, "predict_key = epsilon"),
    "xl zero": (XL | V, {"ss_zero_terminal_snr": "True"}, "sdxl", "v_prediction", True, "the key v_pred"),
    "key against metadata": (
        XL | V, {"modelspec.prediction_type": "epsilon"}, "sdxl", "v_prediction", False, "though its metadata says",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_known(name, tmp_path):
    shapes, metadata, family, prediction_type, zero, source = KNOWN[name]
    facts = recognise(read_header(header_file(tmp_path / "m.safetensors", shapes, metadata)))
    assert (facts.family, facts.prediction_type, facts.zero_terminal_snr) == (family, prediction_type, zero)
    assert source in facts.source
    stated = "key" in source or "metadata" in source or bool(metadata)
    assert ("prediction_type" not in facts.assumed) == stated
    assert ("zero_terminal_snr" in facts.assumed) == (not zero)


OTHER = {
    "lora": ({"lora_unet_mid_block_x.lora_down.weight": [4, 320]}, "a LoRA, which goes on top of a model"),
    "peft lora": ({"unet.mid.attn1.to_q.lora_A.weight": [4, 320]}, "a LoRA"),
    "loha": ({"x.hada_w1_a": [4, 4]}, "a LoHa"),
    "lokr": ({"x.lokr_w1": [4, 4]}, "a LoKr"),
    "pti": ({"unet:0:up": [4, 1], "unet:0:down": [1, 4]}, "in the format of cloneofsimo's lora"),
    "sd3": ({"model.diffusion_model.joint_blocks.0.x": [4]}, "a Stable Diffusion 3 model"),
    "flux": ({"double_blocks.0.img_attn.qkv.weight": [4]}, "a Flux model"),
    "flux, prefixed": ({"model.diffusion_model.double_blocks.0.img_attn.qkv.weight": [4]}, "a Flux model"),
    "controlnet": ({"control_model.input_blocks.0.0.weight": [4]}, "a ControlNet"),
    "embedding": ({"emb_params": [4, 768]}, "an embedding"),
    "xl embedding": ({"clip_l": [4, 768], "clip_g": [4, 1280]}, "an embedding"),
    "vae": ({"decoder.up.0.block.0.conv1.weight": [4]}, "goes under model.vae"),
    "diffusers unet": ({"down_blocks.0.resnets.0.conv1.weight": [4]}, "a single network out of a diffusers folder"),
    "text encoder": ({"text_model.encoder.layers.0.mlp.fc1.bias": [4]}, "a text encoder"),
    "anything": ({"weight": [4]}, "its first tensors are weight"),
    "empty": ({}, "its first tensors are none"),
    "refiner": (UNET | {"conditioner.embedders.0.model.ln_final.bias": [1280]}, "is the SDXL refiner"),
    "unet of xl": (UNET | {"model.diffusion_model.x.attn2.to_k.weight": [640, 2048]}, "a Stable Diffusion XL UNet"),
    "inpainting": (SD1 | {"model.diffusion_model.input_blocks.0.0.weight": [320, 9, 3, 3]}, "an inpainting model"),
    "pix2pix": (SD1 | {"model.diffusion_model.input_blocks.0.0.weight": [320, 8, 3, 3]}, "an instruct-pix2pix"),
    "depth": (SD2 | {"model.diffusion_model.input_blocks.0.0.weight": [320, 5, 3, 3]}, "a depth-to-image"),
    "scaled fp8": (XL | {"model.diffusion_model.scaled_fp8": [2]}, "scaled 8-bit floats"),
    "edm": (XL | {"edm_mean": [4]}, "EDM's scaling"),
}


@pytest.mark.parametrize("name", OTHER)
def test_other_files_are_named(name, tmp_path):
    shapes, message = OTHER[name]
    with pytest.raises(UserError, match=message):
        recognise(read_header(header_file(tmp_path / "m.safetensors", shapes)))


CONTENTS = {
    "pickle": (b"PK\x03\x04" + bytes(100), "a pickle under another name"),
    "old pickle": (b"\x80\x02}q\x00X\n" + bytes(100), "a pickle under another name"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "page": (b"<!DOCTYPE html><html>", "a web page"),
    "empty": (b"", "not a safetensors file"),
    "short header": (struct.pack("<Q", 500) + b'{"a":', "is cut short: 13 bytes of at least 508"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_other_contents_are_named(name, tmp_path):
    content, message = CONTENTS[name]
    file = tmp_path / "m.safetensors"
    file.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_header(file)


def test_cut_short(tmp_path):
    file = header_file(tmp_path / "m.safetensors", SD1)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match="is cut short"):
        read_header(file)


@pytest.mark.parametrize("ending", ["ckpt", "pt", "pth", "bin"])
def test_pickles_are_refused_with_a_way_out(ending, tmp_path):
    file = tmp_path / f"model.{ending}"
    file.write_bytes(b"x")
    with pytest.raises(UserError, match=r"is a pickle, which can run any program.*Checkpoint Merger"):
        read_header(file)
