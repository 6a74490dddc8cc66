"""Pictures to latents and captions to text embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snrlab.core.errors import UserError
from snrlab.models.components import Components

BATCH = 32


@dataclass(frozen=True, eq=False)
class Text:
    """What a UNet is told about the captions.

    Attributes:
        hidden: for cross-attention [N, L, D].
        pooled: a vector for each caption [N, P], where the family has one (SDXL).
    """

    hidden: Tensor
    pooled: Tensor | None = None

    def __getitem__(self, rows: Any) -> Text:
        """These rows."""
        return Text(self.hidden[rows], None if self.pooled is None else self.pooled[rows])

    def to(self, device: torch.device) -> Text:
        """The same on a device."""
        return Text(self.hidden.to(device), None if self.pooled is None else self.pooled.to(device))


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


def encode_text(components: Components, captions: Sequence[str]) -> Text:
    """Text embeddings on the text encoder's device, with gradients where it is trained."""
    tokenizer, encoder = components.tokenizer, components.text_encoder
    tokens = tokenizer(
        list(captions),
        padding="max_length",
        truncation=True,
        max_length=tokenizer.model_max_length,
        return_tensors="pt",
    ).input_ids
    return Text(encoder(tokens.to(encoder.device))[0])  # SD 1.5 conditions on the last hidden state


@torch.no_grad()
def encode_captions(components: Components, captions: Sequence[str]) -> Text:
    """Text embeddings, fp32 on the CPU, made batch by batch."""
    found = [encode_text(components, captions[i : i + BATCH]) for i in range(0, len(captions), BATCH)]
    pooled = [part.pooled.float().cpu() for part in found if part.pooled is not None]
    return Text(torch.cat([part.hidden.float().cpu() for part in found]), torch.cat(pooled) if pooled else None)
