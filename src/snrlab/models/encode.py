"""Pictures to latents and captions to text embeddings, once, before training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snrlab.core.errors import UserError
from snrlab.models.components import Components

BATCH = 32


@torch.no_grad()
def encode_pixels(components: Components, pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Scaled latents, the mean of the autoencoder's posterior, fp32 on the CPU: [N, C, h, w].

    Args:
        components: the model.
        pixels: uint8, [N, H, W, 3].
        device: where the autoencoder is.
    """
    factor = components.latent_factor
    if pixels.shape[1] % factor or pixels.shape[2] % factor:
        raise UserError(f"data.resolution is {pixels.shape[1]}; this model needs a multiple of {factor}.")
    config = components.vae.config
    shift = config.get("shift_factor") or 0.0
    found = []
    for start in range(0, len(pixels), BATCH):
        batch = torch.tensor(pixels[start : start + BATCH], dtype=torch.float32, device=device)
        images = batch.permute(0, 3, 1, 2) / 127.5 - 1  # [B, 3, H, W] in -1..1
        latents = components.vae.encode(images).latent_dist.mode()
        found.append(((latents - shift) * config.scaling_factor).cpu())
    return torch.cat(found)


def tokenize(components: Components, captions: Sequence[str]) -> Tensor:
    """Token ids padded and cut to the tokenizer's length: [N, L]."""
    tokenizer = components.tokenizer
    return tokenizer(
        list(captions),
        padding="max_length",
        truncation=True,
        max_length=tokenizer.model_max_length,
        return_tensors="pt",
    ).input_ids


def encode_tokens(components: Components, tokens: Tensor) -> Tensor:
    """The text encoder's last hidden state, which SD 1.5 conditions on: [N, L, D]."""
    return components.text_encoder(tokens.to(components.text_encoder.device))[0]


@torch.no_grad()
def encode_captions(components: Components, captions: Sequence[str]) -> Tensor:
    """Text embeddings, fp32 on the CPU: [N, L, D]."""
    tokens = tokenize(components, captions)
    found = [encode_tokens(components, tokens[i : i + BATCH]).float().cpu() for i in range(0, len(tokens), BATCH)]
    return torch.cat(found)
