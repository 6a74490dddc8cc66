"""Tiny real pieces for tests: a Stable Diffusion 1.5 style model, a folder of pictures, run files."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from snrlab.cli import main
from snrlab.config import RunConfig, parse_run
from snrlab.model_files import families
from snrlab.models.clip import clip_tokenizer
from snrlab.models.components import Components
from snrlab.models.encoding.encode import TextEmbeddings
from snrlab.models.storage.save_folder import save_folder
from snrlab.train.step.batch import Batch


def components(prediction_type: str = "epsilon", **scheduler) -> Components:
    """A random model with a real tokenizer; the same weights each time."""
    small = Path(str(resources.files("snrlab.models.small")))
    tokenizer = CLIPTokenizer.from_pretrained(small / "tokenizer", local_files_only=True)
    config = json.loads((small / "scheduler" / "scheduler_config.json").read_text())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=4, in_channels=4, out_channels=4, block_out_channels=(8, 16), layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=16, attention_head_dim=2, norm_num_groups=4,
        )  # fmt: skip
        vae = AutoencoderKL(
            block_out_channels=(4, 8, 8), down_block_types=("DownEncoderBlock2D",) * 3, norm_num_groups=2,
            up_block_types=("UpDecoderBlock2D",) * 3, latent_channels=4, sample_size=16, scaling_factor=0.5,
        )  # fmt: skip
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=1,
                num_attention_heads=2,
                max_position_embeddings=32,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
    return Components(
        vae, text_encoder, tokenizer, unet, {**config, "prediction_type": prediction_type, **scheduler}, "tiny"
    )


# what sets the families apart, on few channels
UNETS = {
    "sd1": {
        "block_out_channels": (8, 16), "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"), "attention_head_dim": 2, "cross_attention_dim": 16,
    },
    "sd2": {
        "block_out_channels": (8, 16), "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"), "attention_head_dim": (2, 4),
        "cross_attention_dim": 16, "use_linear_projection": True,
    },
    "sdxl": {
        "block_out_channels": (8, 16, 16), "down_block_types": ("DownBlock2D",) + ("CrossAttnDownBlock2D",) * 2,
        "up_block_types": ("CrossAttnUpBlock2D",) * 2 + ("UpBlock2D",), "attention_head_dim": (2, 4, 4),
        "transformer_layers_per_block": (1, 1, 2), "cross_attention_dim": 24, "use_linear_projection": True,
        "addition_embed_type": "text_time", "addition_time_embed_dim": 4,
        "projection_class_embeddings_input_dim": 6 * 4 + 8,
    },
}  # fmt: skip


def family_model(family: str, prediction_type: str | None = "epsilon", **scheduler) -> Components:
    """A random model with the structure of a family and CLIP's own vocabulary; the same weights each time."""
    text = {
        "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 77,
        "vocab_size": 49408, "bos_token_id": 49406, "eos_token_id": 49407,
    }  # fmt: skip
    open_clip = {"hidden_act": "gelu", "pad_token_id": 0, "projection_dim": 8}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = UNet2DConditionModel(sample_size=4, layers_per_block=2, norm_num_groups=4, **UNETS[family])
        vae = AutoencoderKL(
            block_out_channels=(4, 8, 8), down_block_types=("DownEncoderBlock2D",) * 3, norm_num_groups=2,
            up_block_types=("UpDecoderBlock2D",) * 3, layers_per_block=2, latent_channels=4, sample_size=16,
            scaling_factor=0.13025 if family == "sdxl" else 0.18215,
        )  # fmt: skip
        first = CLIPTextModel(CLIPTextConfig(hidden_size=16, **text, **(open_clip if family == "sd2" else {})))
        second = {}
        if family == "sdxl":
            config = CLIPTextConfig(hidden_size=8, **text, **open_clip)
            second = {"text_encoder_2": CLIPTextModelWithProjection(config), "tokenizer_2": clip_tokenizer("!")}
    tokenizer = clip_tokenizer("!") if family == "sd2" else clip_tokenizer()
    config = families.config(family, "scheduler") | {"prediction_type": prediction_type} | scheduler
    return Components(vae, first, tokenizer, unet, config, f"tiny-{family}", **second)


def save_model(folder: Path, prediction_type: str = "epsilon", **scheduler) -> Path:
    """The tiny model as a diffusers folder."""
    folder.mkdir(parents=True, exist_ok=True)
    save_folder(components(prediction_type, **scheduler), folder, torch.float32)
    return folder


def save_pictures(folder: Path, count: int = 6, size: int = 20) -> Path:
    """Pictures of coloured rectangles with captions."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for index in range(count):
        pixels = np.full((size, size + 4, 3), 255, dtype=np.uint8)
        pixels[4:12, 4:14] = rng.integers(0, 255, 3)
        Image.fromarray(pixels).save(folder / f"{index:02d}.png")
        (folder / f"{index:02d}.txt").write_text(f"rectangle {index}, colour")
    return folder


def batch(x0: torch.Tensor) -> Batch:
    """Latents with captions of nothing."""
    return Batch(x0, TextEmbeddings(torch.zeros(len(x0), 1, 1)))


def run_dict(model: Path, pictures: Path, /, **sections) -> dict:
    """A small run as plain data; `sections` are merged into it."""
    data = {
        "name": "tiny",
        "seed": 3,
        "model": {"path": str(model)},
        "data": {"folder": str(pictures), "resolution": 16, "caption_dropout": 0.2},
        "train": {"steps": 6, "batch_size": 4, "learning_rate": 1e-2, "checkpoint_every": 2},
        "output": {"dates": False, "precision": "fp32", "report": False, "model_card": False},
    }
    for name, values in sections.items():
        data[name] = {**data.get(name, {}), **values} if isinstance(values, dict) else values
    if data["train"].get("method", "lora") == "lora":
        data.setdefault("lora", {"rank": 2})
    return data


def run_config(model: Path, pictures: Path, /, **sections) -> RunConfig:
    """A small run."""
    return parse_run(run_dict(model, pictures, **sections))


class _Listener(logging.Handler):
    def __init__(self, texts: list[str]) -> None:
        super().__init__()
        self.texts = texts

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@contextlib.contextmanager
def messages(level: int = logging.INFO) -> Iterator[list[str]]:
    """What the package logs within it, from this level on, one text each."""
    package = logging.getLogger("snrlab")
    before, listener = package.level, _Listener([])
    package.addHandler(listener)
    package.setLevel(level)
    try:
        yield listener.texts
    finally:
        package.setLevel(before)
        package.removeHandler(listener)


def snrlab(
    *arguments: object, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The command line: what it prints and how it exits; in a process of its own only where `env` asks for one."""
    words = [str(a) for a in arguments]
    if env is not None:
        command = [sys.executable, "-m", "snrlab", *words]
        return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    out, err = io.StringIO(), io.StringIO()
    code: int | str | None = 0
    with (
        contextlib.chdir(cwd or Path.cwd()),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", ["snrlab", *words]),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code
    return subprocess.CompletedProcess(words, int(code or 0), out.getvalue(), err.getvalue())
