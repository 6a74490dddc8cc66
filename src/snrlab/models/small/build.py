"""Building the small model with random weights, on latents or on pixels."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from snrlab.config.sections.model import RandomModel
from snrlab.models.components import Components
from snrlab.models.pixels import PixelIdentity


def build(name: RandomModel, seed: int) -> Components:
    """Build the small model with weights drawn from the seed; its autoencoder is the shipped one, or the identity.

    The caller's random state is untouched.
    """
    small = Path(str(resources.files("snrlab.models.small")))
    text_config = CLIPTextConfig(**json.loads((small / "text_encoder" / "config.json").read_text(encoding="utf-8")))
    unet_config = json.loads(
        resources.files(f"snrlab.models.{name}").joinpath("unet", "config.json").read_text(encoding="utf-8")
    )
    # the libraries draw initial weights from torch's global generator: lend it our seed, then give it back
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet2DConditionModel.from_config(unet_config)
        text_encoder = CLIPTextModel(text_config)
    vae = PixelIdentity() if name == "pixels" else AutoencoderKL.from_pretrained(small / "vae", local_files_only=True)
    tokenizer = CLIPTokenizer.from_pretrained(small / "tokenizer", local_files_only=True)
    scheduler = json.loads((small / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))
    return Components(vae, text_encoder, tokenizer, unet, scheduler, label=f"snrlab-{name}")
