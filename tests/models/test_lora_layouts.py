"""LoRA files: the names are kohya's, other programs read what we write, and we read what they write."""

import functools
import hashlib
import itertools
import json
import logging
import re
import struct
import warnings

import diffusers
import pytest
import torch
from peft import LoraConfig as PeftConfig
from safetensors.torch import load_file, save_file
from torch import nn

import adapted
from adapted import CONV
from snrlab import UserError
from snrlab.config.sections.lora import LoraConfig
from snrlab.model_files import families
from snrlab.models.layouts.kohya_names import kohya_name
from snrlab.models.layouts.kohya_names import path_of_kohya_name as path_of
from snrlab.models.layouts.original_layout import layout
from snrlab.models.lora.adapter import Adapter
from snrlab.models.lora.adapters import (
    adapter_layer_path,
    adapter_sizes,
    add_lora,
    lora_layers,
    start_from,
    trained_lora,
)
from snrlab.models.lora.lora_file import convert_lora, family_of, load_lora, write_lora
from snrlab.models.networks import empty_network

LINEAR = ["attention", "feed_forward"]
FAMILIES = ("sd1", "sd2", "sdxl")
COUNTS = {
    ("sd1", False): (192, 72), ("sd2", False): (192, 138), ("sdxl", False): (722, 264),
    ("sd1", True): (278, 72), ("sd2", True): (278, 138), ("sdxl", True): (788, 264),
}  # fmt: skip


def encoders(family):
    return [part for part in families.PARTS[family] if part.startswith("text")]


def full_size(family, part):
    return empty_network(part, families.config(family, part))


def ours(family, config):
    """Names and ranks for the full-size architecture."""
    unet_config = families.config(family, "unet")
    return {
        kohya_name(adapter_layer_path(part, name), family, unet_config): size.rank
        for part in ["unet", *encoders(family)]
        for name, size in adapter_sizes(full_size(family, part), part, config).items()
    }


def by_kohyas_rule(family, convolution):
    """Layers within modules of these classes; for SDXL, whose UNet is another program's, the same by its tensors."""
    classes = ["Transformer2DModel"] + ["ResnetBlock2D", "Downsample2D", "Upsample2D"] * convolution
    if family == "sdxl":
        unet = full_size(family, "unet")
        state = unet.state_dict()
        entries = layout("unet", state, unet.config, family)
        shapes = {e.name.removeprefix("model.diffusion_model."): state[e.parts[0]].shape for e in entries}
        matrices = [name.removesuffix(".weight") for name, shape in shapes.items() if len(shape) > 1]
        within = {re.match(r"\w+_blocks?\.\d+(\.\d+)?", n)[0] for n in shapes if ".transformer_blocks." in n}
        inside = [n for n in matrices if any(n.startswith(block + ".") for block in within)]
        outside = {"input_blocks.0.0", "time_embed.0", "time_embed.2", "label_emb.0.0", "label_emb.0.2", "out.2"}
        names = set(matrices) - outside if convolution else inside
        names_of_layers = {"lora_unet_" + n.replace(".", "_") for n in names}
    else:
        names_of_layers = names_by_class(full_size(family, "unet"), classes, "lora_unet_")
    for number, part in enumerate(encoders(family), 1):
        prefix = f"lora_te{number}_" if family == "sdxl" else "lora_te_"
        level = "" if part == "text_encoder_2" else "text_model_"  # transformers 5 dropped it, the format did not
        names_of_layers |= names_by_class(full_size(family, part), ["CLIPAttention", "CLIPMLP"], prefix + level)
    return names_of_layers


def names_by_class(network, classes, prefix):
    return {
        prefix + f"{name}.{inner}".replace(".", "_")
        for name, module in network.named_modules()
        if type(module).__name__ in classes
        for inner, layer in module.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
    }


@pytest.mark.parametrize(("family", "convolution"), COUNTS)
def test_key_sets_are_kohyas(family, convolution):
    names = ours(
        family, LoraConfig(layers=CONV if convolution else LINEAR, rank=8, conv_rank=4 if convolution else None)
    )
    assert set(names) == by_kohyas_rule(family, convolution)
    unet = sum(name.startswith("lora_unet_") for name in names)
    assert (unet, len(names) - unet) == COUNTS[family, convolution]
    # kohya gives a 3 x 3 kernel conv_dim, everything else, the shortcut's 1 x 1 too, network_dim
    assert {r for n, r in names.items() if re.search("conv[12]|samplers|in_layers|out_layers|_op$|_conv$", n)} <= {4}
    assert {r for n, r in names.items() if re.search("shortcut|skip|emb|_to_|proj", n)} == {8}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_name_finds_its_layer_again(family):
    config = families.config(family, "unet")
    for part in ["unet", *encoders(family)]:
        for name in adapter_sizes(full_size(family, part), part, LoraConfig(layers=CONV)):
            path = adapter_layer_path(part, name)
            assert path_of(kohya_name(path, family, config), config) == path
            if part == "unet":  # SDXL files with diffusers' names are around too
                assert path_of(kohya_name(path, "sd1", config), config) == path


CHOICES = {
    "plain": {},
    "alpha": {"alpha": 3.0},
    "LoCon": {"layers": CONV, "conv_rank": 2, "conv_alpha": 1.0, "alpha": 3.0},
    "blocks": {"block_ranks": {"mid_block": 3, "up_blocks.1": 0}, "block_alphas": {"down_blocks.1": 1.0}},
    "blocks of LoCon": {"layers": CONV, "conv_block_ranks": {"down_blocks": 1}, "block_ranks": {"up_blocks.1": 5}},
    "DoRA": {"dora": True, "layers": CONV},
}


@functools.cache
def trained(family, choice, parts=None):
    """Made once; no test changes it."""
    return adapted.trained(family, CHOICES[choice], parts)


def write(model, path, form="kohya", metadata=None, dtype=torch.float32):
    write_lora(path, trained_lora(model), metadata or {}, form, model.family, model.unet.config, dtype)
    return path


@pytest.fixture
def complaints():
    """What diffusers and transformers say while they load."""
    heard = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())
    diffusers.utils.logging.add_handler(handler)
    logging.getLogger("transformers").addHandler(handler)
    yield heard
    diffusers.utils.logging.remove_handler(handler)
    logging.getLogger("transformers").removeHandler(handler)


@pytest.mark.parametrize(
    ("choice", "form", "family"),
    # not a DoRA in kohya's layout: diffusers drops its lengths, and says so
    [(choice, "kohya", "sdxl") for choice in CHOICES if choice != "DoRA"]
    + [(choice, "peft", "sd1") for choice in ("alpha", "blocks", "DoRA")]
    + [("plain", "kohya", "sd2"), ("blocks of LoCon", "kohya", "sd1"), ("DoRA", "peft", "sdxl")],
)
def test_diffusers_makes_the_same_of_the_file(choice, form, family, tmp_path, complaints):
    model = trained(family, choice)
    file = write(model, tmp_path / "lora.safetensors", form)
    other = adapted.fresh(family)
    before = adapted.predict(other)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # peft's, of an alpha that has found no layer
        adapted.pipeline(other).load_lora_weights(str(file))
    assert complaints == []
    wanted = adapted.predict(model)
    assert torch.allclose(adapted.predict(other), wanted, atol=1e-5)
    assert (wanted - before).abs().max() > 0.05
    matrices = [key for key in load_file(file) if key.endswith(("lora_down.weight", "lora_A.weight"))]
    assert len([n for n, _ in named_parameters(other) if "lora_A" in n]) == len(matrices), "every tensor has its place"


def named_parameters(model):
    return itertools.chain(*(network.named_parameters() for network in model.networks.values()))


@pytest.mark.parametrize("family", ["sdxl"])
def test_diffusers_hears_of_lengths_through_peft(family, tmp_path):
    """The way that snrlab's own sampling goes: any file, read by us, handed over in peft's layout."""
    from snrlab.models.lora.lora_file import peft_tensors

    model = trained(family, "DoRA")
    file = write(model, tmp_path / "lora.safetensors")
    other = adapted.fresh(family)
    tensors = peft_tensors(load_lora(file, other.unet.config), torch.float32)
    adapted.pipeline(other).load_lora_weights(tensors)
    assert torch.allclose(adapted.predict(other), adapted.predict(model), atol=1e-5)


def test_diffusers_own_files_are_read(tmp_path):
    """Written by diffusers, with alphas in the configuration in the header; and in its older names."""
    for family in FAMILIES:
        model = adapted.fresh(family)
        from diffusers.utils import convert_state_dict_to_diffusers
        from peft.utils import get_peft_model_state_dict

        layers, metadata = {}, {}
        for part in ["unet", *encoders(family)]:
            network = model.networks[part]
            names = r"to_q|to_out\.0|ff\.net\.2" if part == "unet" else "q_proj|fc1"
            config = PeftConfig(r=3, lora_alpha=6, target_modules=rf".*\.({names})", init_lora_weights=False,
                                alpha_pattern={r".*\.(to_q|q_proj)": 1.5})  # fmt: skip
            network.add_adapter(config)
            layers[f"{part}_lora_layers"] = get_peft_model_state_dict(network)
            metadata[f"{part}_lora_adapter_metadata"] = json.loads(json.dumps(config.to_dict(), default=list))
        adapted.pipeline(model).save_lora_weights(tmp_path / family, **layers, **metadata)
        file = tmp_path / family / "pytorch_lora_weights.safetensors"
        loaded = load_lora(file, model.unet.config)
        ours = trained_lora(model)
        assert loaded.keys() == ours.keys()
        for path, adapter in ours.items():
            assert torch.allclose(loaded[path].update(), adapter.update(), atol=1e-6), path
        older = {
            **{f"unet.{k}": v for k, v in convert_state_dict_to_diffusers(layers["unet_lora_layers"]).items()},
            **{f"text_encoder.text_model.{k}": v
               for k, v in convert_state_dict_to_diffusers(layers["text_encoder_lora_layers"]).items()},
        }  # fmt: skip
        assert any("lora.down" in k for k in older)
        assert any("lora_linear_layer.up" in k for k in older)
        save_file({k: v.contiguous() for k, v in older.items()}, tmp_path / "old.safetensors")
        old = load_lora(tmp_path / "old.safetensors", model.unet.config)
        assert old.keys() == {path for path in ours if not path.startswith("text_encoder_2.")}
        assert all(torch.equal(old[path].down, ours[path].down) for path in old)


@pytest.mark.parametrize("family", ["sdxl"])
@pytest.mark.parametrize("choice", CHOICES)
def test_layouts_convert_into_each_other(choice, family, tmp_path, monkeypatch):
    model = trained(family, choice)
    config = dict(model.unet.config)
    monkeypatch.setattr(families, "config", lambda *_: config)  # its blocks are counted as this tiny one's
    first = write(model, tmp_path / "first.safetensors", metadata={"ss_network_dim": "4"})
    convert_lora(first, tmp_path / "peft.safetensors", "peft", family)
    convert_lora(tmp_path / "peft.safetensors", tmp_path / "again.safetensors", "kohya", family)
    ours, again = trained_lora(model), load_lora(tmp_path / "again.safetensors", config)
    assert again.keys() == ours.keys()
    for path, adapter in ours.items():
        assert torch.allclose(again[path].update(), adapter.update(), atol=1e-6), path
        assert (again[path].magnitude is None) == (adapter.magnitude is None)
        assert adapter.magnitude is None or torch.equal(again[path].magnitude, adapter.magnitude)
    assert header(tmp_path / "again.safetensors")["ss_network_dim"] == "4"
    with pytest.raises(UserError, match="never overwritten"):
        convert_lora(first, tmp_path / "peft.safetensors", "peft", family)


def header(file):
    raw = file.read_bytes()
    return json.loads(raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]])["__metadata__"]


def test_shapes_of_doras_lengths(tmp_path):
    """[out, 1] and [out, 1, 1, 1], as LyCORIS and ComfyUI have them."""
    tensors = load_file(write(trained("sd1", "DoRA"), tmp_path / "lora.safetensors"))
    scales = {key.removesuffix(".dora_scale"): value for key, value in tensors.items() if key.endswith("dora_scale")}
    assert scales.keys() == {key.partition(".")[0] for key in tensors}
    for name, scale in scales.items():
        up, down = (tensors[f"{name}.lora_{side}.weight"] for side in ("up", "down"))
        assert scale.shape == (up.shape[0], *[1] * (down.ndim - 1))


def test_the_hashes_are_those_that_programs_compute(tmp_path):
    """A1111's of a LoRA: all bytes after the header, whatever the metadata says."""
    file = write(trained("sd1", "plain"), tmp_path / "lora.safetensors", metadata={"ss_x": "1", "other": "2"})
    raw, metadata = file.read_bytes(), header(file)
    after = hashlib.sha256(raw[8 + struct.unpack("<Q", raw[:8])[0] :]).hexdigest()
    assert metadata["sshs_model_hash"] == after
    assert metadata["modelspec.hash_sha256"] == f"0x{after}"
    assert re.fullmatch("[0-9a-f]{8}", metadata["sshs_legacy_hash"])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_family_is_told_by_the_layers(family):
    lora = {}
    for part in ["unet", *encoders(family)]:
        for name in adapter_sizes(network := full_size(family, part), part, LoraConfig()):
            layer = network.get_submodule(name)
            down = torch.empty(4, *layer.weight.shape[1:], device="meta")
            lora[adapter_layer_path(part, name)] = Adapter(
                down, torch.empty(layer.weight.shape[0], 4, device="meta"), 4.0
            )
    assert family_of(lora) == family


@pytest.mark.parametrize(
    ("choice", "form", "family"),
    [("alpha", "kohya", "sd1"), ("LoCon", "peft", "sdxl"), ("blocks", "kohya", "sdxl"), ("DoRA", "kohya", "sd1")],
)
def test_training_starts_from_a_file(form, choice, family, tmp_path):
    model = trained(family, choice)
    file = write(model, tmp_path / "lora.safetensors", form)
    other = adapted.fresh(family)
    add_lora(other, LoraConfig(rank=4, **CHOICES[choice]), ["unet", *encoders(family)], seed=5)
    start_from(other, load_lora(file, other.unet.config), "lora")
    assert torch.allclose(adapted.predict(other), adapted.predict(model), atol=1e-5)
    assert [layer.lora_alpha for layer in lora_layers(other).values()] == [
        layer.lora_alpha for layer in lora_layers(model).values()
    ]


def test_a_convolution_of_one_pixel_starts_a_matrix(tmp_path):
    """kohya's own UNet of SD 2 has 1 x 1 convolutions where diffusers has matrices."""
    model = trained("sd2", "plain", ("unet",))
    tensors = load_file(write(model, tmp_path / "a.safetensors"))
    pixel = {k: v[:, :, None, None] if "_proj_" in k and k.endswith("weight") else v for k, v in tensors.items()}
    save_file({k: v.contiguous() for k, v in pixel.items()}, tmp_path / "b.safetensors")
    other = adapted.fresh("sd2")
    add_lora(other, LoraConfig(rank=4), ["unet"], seed=5)
    start_from(other, load_lora(tmp_path / "b.safetensors", other.unet.config), "b")
    assert torch.equal(adapted.predict(other), adapted.predict(model))


def broken(tensors, how):
    first = next(k for k in tensors if k.endswith("lora_up.weight"))
    match how:
        case "loha":
            return {**tensors, "lora_unet_mid_block_attentions_0_proj_in.hada_w1_a": torch.ones(2, 2)}
        case "half":
            return {k: v for k, v in tensors.items() if k != first}
        case "ranks":
            return {**tensors, first: tensors[first][:, :1].contiguous()}
        case "no lora":
            return {"weight": torch.ones(1)}
        case "stranger":
            return {**tensors, "lora_prior_x.lora_up.weight": torch.ones(1, 1)}


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("loha", "hada_w1_a; only LoRA, LoCon and DoRA"),
        ("half", "has no up matrix for text_encoder"),
        ("ranks", "do not fit each other"),
        ("no lora", "holds no LoRA weights"),
        ("stranger", "'lora_prior_x' is not the name"),
    ],
)
def test_other_files_are_refused(how, message, tmp_path):
    tensors = load_file(write(trained("sd1", "plain"), tmp_path / "good.safetensors"))
    save_file(broken(tensors, how), tmp_path / "bad.safetensors")
    with pytest.raises(UserError, match=message):
        load_lora(tmp_path / "bad.safetensors")


def test_files_that_are_none(tmp_path):
    (tmp_path / "a.ckpt").write_bytes(b"\x80\x02")
    (tmp_path / "b.safetensors").write_bytes(b"\x00" * 40)
    for name, text in (("a.ckpt", "pickle"), ("b.safetensors", "not a safetensors file"), ("c.safetensors", "no file")):
        with pytest.raises(UserError, match=text):
            load_lora(tmp_path / name, field="lora.start_from")
