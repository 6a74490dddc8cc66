"""What `snrlab inspect` says of files: against the adapters themselves, torch's number formats, and kohya's hashes."""

import json
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import adapted
import tiny_families
from snrlab import UserError
from snrlab.cli.analysis.inspection_text import inspection_as_data, inspection_blocks
from snrlab.lab.blocks import to_text
from snrlab.model_files.header import read_header
from snrlab.model_files.inspection.inspection import inspect_file
from snrlab.model_files.tensors import read_tensor
from snrlab.models.lora.adapters import trained_lora
from snrlab.models.lora.lora_file import load_lora, write_lora
from snrlab.models.storage.save_single_file import save_single_file

FAMILIES = ("sd1", "sdxl")


@pytest.fixture(scope="module")
def loras(tmp_path_factory):
    """Files of both families and layouts with the same adapters."""
    folder, made = tmp_path_factory.mktemp("loras"), {}
    for family in FAMILIES:
        model = adapted.trained(family, {"alpha": 2.0})
        for form in ("kohya", "peft"):
            path = folder / f"{family}-{form}.safetensors"
            write_lora(
                path, trained_lora(model), {"ss_network_dim": "4"}, form, family, model.unet.config, torch.float32
            )
            made[family, form] = path
    return made


def changed(path, folder, change, metadata=None):
    tensors = load_file(path)
    change(tensors)
    file = folder / "changed.safetensors"
    save_file(tensors, file, metadata or {"ss_network_dim": "4"})
    return file


def codes(inspected):
    return {f.code for f in inspected.findings}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("form", ["kohya", "peft"])
def test_norms_are_those_of_the_change(loras, family, form):
    inspected = inspect_file(loras[family, form])
    config = tiny_families.family(family).unet.config
    lora = load_lora(loras[family, form], config)
    squares = {}
    for path, adapter in lora.items():
        delta = adapter.alpha / adapter.rank * adapter.up.flatten(1) @ adapter.down.flatten(1)
        part = path.partition(".")[0]
        squares[part] = squares.get(part, 0) + float(delta.square().sum())
    for part, square in squares.items():
        total = sum(n.norm**2 for name, n in inspected.norms.items() if name.split(" ")[0] == part)
        assert total == pytest.approx(square, rel=1e-4)
    assert sum(inspected.adapters.parts.values()) == len(lora)
    assert set(inspected.adapters.ranks) == {4}
    assert inspected.adapters.layout == form
    assert codes(inspected) == set()


def test_formats_are_read_as_torch_reads_them(tmp_path):
    bits = torch.arange(256, dtype=torch.uint8)
    wide = torch.arange(65536, dtype=torch.int32).to(torch.uint16)
    tensors = {
        "e4m3": bits.view(torch.float8_e4m3fn), "e5m2": bits.clone().view(torch.float8_e5m2),
        "bf16": wide.view(torch.bfloat16), "fp16": wide.clone().view(torch.float16), "i64": torch.arange(3),
    }  # fmt: skip
    save_file(tensors, tmp_path / "all.safetensors")
    header = read_header(tmp_path / "all.safetensors")
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(read_tensor(header, name), tensor.float().numpy())


def test_the_hash_is_kohyas(loras):
    inspected = inspect_file(loras["sd1", "kohya"], hashes=True)
    assert inspected.hashes["tensors_sha256"] == inspected.metadata["sshs_model_hash"]
    assert inspected.hashes["sha256"].startswith(inspected.hashes["AutoV2"])


def put_nan(tensors):
    next(v for k, v in tensors.items() if k.endswith("lora_up.weight")).view(-1)[3] = float("nan")


def zero_up(tensors):
    next(v for k, v in tensors.items() if k.endswith("lora_up.weight")).zero_()


def drop(ending, count=None):
    def change(tensors):
        for key in [k for k in tensors if k.endswith(ending)][:count]:
            del tensors[key]

    return change


def other_alpha(tensors):
    next(v for k, v in tensors.items() if "attn1" in k and k.endswith("alpha")).fill_(7.0)


@pytest.mark.parametrize(
    ("change", "code", "grade"),
    [
        (put_nan, "not_finite", "error"),
        (zero_up, "untrained_layers", "warning"),
        (drop("alpha"), "alpha_missing", "warning"),
        (drop("lora_up.weight", 1), "half_a_layer", "error"),
        (other_alpha, "mixed_alphas", "warning"),
        (lambda tensors: tensors.update(stray=torch.zeros(1)), "unknown_tensors", "warning"),
    ],
    ids=["nan", "zero", "no-alpha", "half", "alphas", "stray"],
)
def test_faults_are_told(loras, tmp_path, change, code, grade):
    inspected = inspect_file(changed(loras["sd1", "kohya"], tmp_path, change))
    assert {f.code: f.grade for f in inspected.findings} == {code: grade}


def test_metadata_that_does_not_fit_is_told(loras, tmp_path):
    metadata = {"ss_network_dim": "64", "sshs_model_hash": "0" * 64}
    inspected = inspect_file(changed(loras["sd1", "kohya"], tmp_path, lambda t: None, metadata), hashes=True)
    assert codes(inspected) == {"other_rank", "other_tensors"}


def test_bytes_after_the_end_and_overlaps_are_told(loras, tmp_path):
    raw = loras["sd1", "kohya"].read_bytes()
    (tmp_path / "long.safetensors").write_bytes(raw + b"hidden")
    assert codes(inspect_file(tmp_path / "long.safetensors")) == {"trailing_bytes"}
    entry = {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}
    text = json.dumps({f"lora_unet_{x}.lora_down.weight": entry for x in "ab"}).encode()
    (tmp_path / "over.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 4)
    assert "overlapping_tensors" in codes(inspect_file(tmp_path / "over.safetensors"))


@pytest.mark.parametrize("marked", [True, False])
def test_a_checkpoint_and_who_loads_it(tmp_path, marked):
    model = tiny_families.family("sdxl", "v_prediction", rescale_betas_zero_snr=True)
    save_single_file(model, tmp_path / "model.safetensors", None, {})
    if not marked:
        tensors = load_file(tmp_path / "model.safetensors")
        for key in ("v_pred", "ztsnr"):
            del tensors[key]
        save_file(tensors, tmp_path / "model.safetensors")
    inspected = inspect_file(tmp_path / "model.safetensors", norms=True)
    assert (inspected.kind, inspected.family) == ("a checkpoint", "sdxl")
    assert inspected.prediction_type == ("v_prediction" if marked else "epsilon")
    assert inspected.zero_terminal_snr is (True if marked else None)
    answers = {p.name: p for p in inspected.programs}
    assert ("v_prediction" in answers["diffusers"].reason) is marked
    assert answers["ComfyUI, Forge"].answer == "yes"
    total = sum(float(t.double().square().sum()) for n, t in load_file(inspected.path).items() if t.is_floating_point())
    assert sum(n.norm**2 for n in inspected.norms.values()) == pytest.approx(total, rel=1e-6)


FIRST = "model.diffusion_model.input_blocks.0.0.weight"
OTHERS = {
    "an inpainting model": lambda tensors: {**tensors, FIRST: tensors[FIRST][:, [0, 1, 2, 3] * 2 + [0]].contiguous()},
    "a model in EDM's scaling, which this program does not train": lambda tensors: {**tensors, "edm_mean": FOUR},
    "the SDXL refiner": lambda tensors: {
        name.replace("cond_stage_model.transformer.", "conditioner.embedders.0.model."): t
        for name, t in tensors.items()
    },
    "a UNet without a text encoder": lambda tensors: {n: t for n, t in tensors.items() if "cond_stage" not in n},
}
FOUR = torch.zeros(4)


def test_what_is_no_checkpoint_of_these_families_is_told_apart(tmp_path):
    """All of them have an autoencoder's tensors in them, and none of them is one."""
    save_single_file(tiny_families.family("sd1"), tmp_path / "model.safetensors", None, {})
    tensors = load_file(tmp_path / "model.safetensors")
    for kind, change in OTHERS.items():
        save_file(change(tensors), tmp_path / "other.safetensors")
        assert inspect_file(tmp_path / "other.safetensors").kind == kind


def test_a_v_checkpoint_without_its_key_is_taken_for_epsilon(tmp_path):
    save_single_file(tiny_families.family("sdxl", "v_prediction"), tmp_path / "model.safetensors", None, {})
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["v_pred"]
    save_file(tensors, tmp_path / "model.safetensors", {"modelspec.prediction_type": "v"})
    answers = {p.name: p.answer for p in inspect_file(tmp_path / "model.safetensors").programs}
    assert answers["ComfyUI, Forge"] == answers["A1111"] == "partly"


def test_of_a_checkpoint_only_the_header_is_read(tmp_path):
    """A file of 40 GB, none of it written: reading it would take minutes."""
    entry = {"dtype": "F16", "shape": [10**10, 2], "data_offsets": [0, 4 * 10**10]}
    text = json.dumps({"model.diffusion_model.x": entry}).encode()
    with (tmp_path / "large.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + 4 * 10**10)
    inspected = inspect_file(tmp_path / "large.safetensors")
    assert sum(inspected.formats.values()) == 2 * 10**10


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_folder(tmp_path, family):
    tiny_families.save_family(tmp_path / "model", family, "v_prediction")
    inspected = inspect_file(tmp_path / "model")
    assert inspected.prediction_type == "v_prediction"
    assert set(inspected.parts) >= {"unet", "vae", "text_encoder"}
    assert {p.name: p.answer for p in inspected.programs}["A1111"] == "no"
    with pytest.raises(UserError, match="no model"):
        inspect_file(tmp_path)


def test_names_and_metadata_cannot_drive_the_terminal(loras, tmp_path):
    metadata = {"ss_training_comment": "a\x1b[2Jb\nfamily: a lie", "ss_tag_frequency": "[" * 5000}
    inspected = inspect_file(changed(loras["sd1", "kohya"], tmp_path, lambda t: None, metadata))
    text = to_text(inspection_blocks(inspected, 5))
    assert "\x1b" not in text
    assert "\nfamily: a lie" not in text
    assert inspection_as_data(inspected, 5)["metadata"] == metadata


def test_tags_are_counted_over_folders(loras, tmp_path):
    metadata = {"ss_tag_frequency": json.dumps({"1_a": {"cat": 3, "dog": 1}, "2_b": {"dog": 5}})}
    inspected = inspect_file(changed(loras["sd1", "kohya"], tmp_path, lambda t: None, metadata))
    assert inspection_as_data(inspected, 1)["tags"] == {"tags, the 1 most frequent of 2": "dog 6"}


def test_the_command_works_without_torch(loras, tmp_path):
    (tmp_path / "bad.ckpt").write_bytes(b"\x80\x02")
    code = (
        "import sys\n"
        f"sys.argv = ['snrlab', 'inspect', {str(loras['sdxl', 'peft'])!r}, 'bad.ckpt', '--format', 'json']\n"
        "sys.modules['torch'] = None\n"
        "from snrlab.cli import main\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert "is a pickle" in done.stderr
    assert json.loads(done.stdout)[0]["family"] == "sdxl"
