"""The models that ship: they load elsewhere, are as small as promised, and draw what they are asked for."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import CLIPTokenizer

import tiny
from snrlab.config.sections.output import SampleConfig
from snrlab.evaluate.evaluation import choose_concepts, draw_concepts
from snrlab.evaluate.measures import measure
from snrlab.evaluate.open_model import open_model
from snrlab.model_files.model_facts import shipped_folder
from snrlab.models.storage.source import load_model, shipped
from snrlab.train import runner

NAMES = ("small", "small_v")
ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("name", NAMES)
def test_plain_diffusers_loads_and_samples(name):
    pipe = StableDiffusionPipeline.from_pretrained(shipped_folder(name), local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    picture = pipe("red apple", num_inference_steps=4, height=64, width=64, generator=torch.manual_seed(0)).images[0]
    assert np.asarray(picture).std() > 10
    scheduler = pipe.scheduler.config
    assert scheduler.prediction_type == {"small": "epsilon", "small_v": "v_prediction"}[name]
    assert scheduler.rescale_betas_zero_snr == (name == "small_v")
    if name == "small_v":
        assert scheduler.timestep_spacing == "trailing"
        assert float(pipe.scheduler.alphas_cumprod[-1]) < 1e-6


def test_sizes():
    files = [f for n in NAMES for f in shipped_folder(n).glob("*/*.safetensors") if not f.is_symlink()]
    assert max(f.stat().st_size for f in files) <= 15 * 2**20
    assert sum(f.stat().st_size for f in files) <= 36e6
    for file in files:
        with safe_open(str(file), framework="pt") as tensors:
            assert {tensors.get_tensor(k).dtype for k in tensors.keys()} == {torch.float16}  # noqa: SIM118


def test_text_encoder_fits_the_tokenizer():
    folder = shipped_folder("small")
    config = json.loads((folder / "text_encoder" / "config.json").read_text())
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    assert config["vocab_size"] == len(tokenizer)
    assert [config[f"{k}_token_id"] for k in ("bos", "eos", "pad")] == [
        tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id,
    ]  # fmt: skip
    names = load_file(folder / "text_encoder" / "model.safetensors")
    assert all(name.startswith("text_model.") for name in names), "transformers 4 knows no other names"


def test_the_twin_shares_all_but_the_unet():
    one, twin = shipped("small"), shipped("small_v")
    folder = load_model(shipped_folder("small_v"))  # as any other program finds it, through its links
    for part in ("vae", "text_encoder"):
        for other in (twin, folder):
            state = getattr(other, part).state_dict()
            assert all(torch.equal(v, state[k]) for k, v in getattr(one, part).state_dict().items())
    assert not torch.equal(one.unet.conv_out.weight, twin.unet.conv_out.weight)
    assert torch.equal(folder.unet.conv_out.weight, twin.unet.conv_out.weight)
    assert folder.scheduler_config == twin.scheduler_config
    assert (one.label, twin.label) == ("snrlab-small", "snrlab-small-v")


@pytest.mark.long
def test_the_twin_works_in_a_checkout_without_links(tmp_path):
    """As git makes it on Windows: a text file with the target's path in the place of each link."""
    package = shutil.copytree(ROOT / "src" / "snrlab", tmp_path / "snrlab", symlinks=True)
    links = [path for path in package.rglob("*") if path.is_symlink()]
    assert len(links) == 7
    for link in links:
        target = str(link.readlink())
        link.unlink()
        link.write_text(target)
    done = tiny.snrlab(
        "sample", "small_v", "--prompt", "red apple", "--steps", 1, cwd=tmp_path, env={**os.environ, "PYTHONPATH": "."}
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sample.png").stat().st_size > 1000


@pytest.mark.long
@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_a_distribution_carries_both_models_whole(kind, tmp_path):
    command = [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (archive,) = tmp_path.iterdir()
    shutil.unpack_archive(archive, tmp_path, "zip" if kind == "wheel" else "gztar")
    (folder,) = tmp_path.rglob("models/small_v")
    pipe = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    assert pipe.scheduler.config.prediction_type == "v_prediction"
    shipped_vae = load_file(shipped_folder("small") / "vae" / "diffusion_pytorch_model.safetensors")
    assert torch.equal(pipe.vae.state_dict()["encoder.conv_in.weight"], shipped_vae["encoder.conv_in.weight"].float())


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_known_concepts_are_recognised(name):
    concepts = choose_concepts("noto", "known", 32, [])
    drawn = draw_concepts(open_model(Path(name)), concepts, SampleConfig(steps=10, guidance=3.0), ())[None, None]
    measures = measure(drawn, [c.code for c in concepts], "noto")
    assert measures.match.mean() >= 0.7  # 0.8 and more on all; chance is 0.01


def test_a_saved_model_has_its_number_format_and_no_folder_of_ours(tiny_model, pictures, tmp_path):
    config = tiny.run_config(
        tiny_model, pictures, train={"method": "full", "steps": 1}, output={"precision": "fp16", "dates": False}
    )
    saved = runner.run(config, tmp_path).folder.path / "tiny"
    for file in saved.glob("*/*.safetensors"):
        with safe_open(str(file), framework="pt") as tensors:
            assert {tensors.get_tensor(k).dtype for k in tensors.keys()} == {torch.float16}, file  # noqa: SIM118
    for file in saved.rglob("*.json"):
        assert str(tmp_path) not in file.read_text(), file
        assert str(tiny_model) not in file.read_text(), file
    assert {"vocab.json", "merges.txt"} <= {f.name for f in (saved / "tokenizer").iterdir()}
    again = load_model(saved)
    assert {getattr(again, part).dtype for part in ("unet", "vae", "text_encoder")} == {torch.float32}
    text = "rectangle 3, colour"
    before = load_model(tiny_model).tokenizer(text).input_ids
    assert again.tokenizer(text).input_ids == before
    StableDiffusionPipeline.from_pretrained(saved, local_files_only=True)
