"""The network as a function: noisy latents and what it is told, to what it predicts."""

from __future__ import annotations

import torch
from torch import Tensor

from snrlab.models.components import Components
from snrlab.models.encode import Text


def denoise(components: Components, x_t: Tensor, timesteps: Tensor, text: Text, sizes: Tensor | None = None) -> Tensor:
    """What the UNet predicts for noisy latents, in the number format that it works in.

    Args:
        components: the model; where the UNet's weights are in half precision, it works in that.
        x_t: noisy latents [B, C, h, w].
        timesteps: int64 [B].
        text: embeddings of the captions, [B, L, D].
        sizes: original height and width, crop top and left, target height and width in pixels [B, 6] (SDXL).
    """
    dtype = components.unet.dtype
    with torch.autocast(x_t.device.type, dtype, enabled=dtype != torch.float32):
        return components.unet(x_t, timesteps, encoder_hidden_states=text.hidden).sample
