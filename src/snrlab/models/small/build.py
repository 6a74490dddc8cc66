"""Builds the small model: packaged architecture, tokenizer and schedule, random UNet and text encoder."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from snrlab.models.components import Components


def build(seed: int) -> Components:
    """The small model with weights drawn from the seed (the autoencoder's too, where none is shipped).

    The caller's random state is untouched.
    """
    folder = Path(str(resources.files("snrlab.models.small")))

    def config(part: str) -> dict[str, object]:
        return dict(json.loads((folder / part / "config.json").read_text()))

    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    text_config = CLIPTextConfig(
        **config("text_encoder"),
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    # the libraries draw initial weights from torch's global generator: lend it our seed, then give it back
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet2DConditionModel.from_config(config("unet"))
        text_encoder = CLIPTextModel(text_config)
        vae = AutoencoderKL.from_config(config("vae"))
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    if weights.is_file():
        vae.load_state_dict({k: v.float() for k, v in load_file(weights).items()})
    scheduler = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    return Components(vae, text_encoder, tokenizer, unet, scheduler, label="snrlab-small")
