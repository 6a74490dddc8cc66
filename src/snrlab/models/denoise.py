"""One forward pass of the UNet: noisy latents and conditioning in, prediction out."""

from __future__ import annotations

from torch import Tensor

from snrlab.models.arithmetic import computing
from snrlab.models.components import Components
from snrlab.models.encoding.encode import TextEmbeddings


def denoise(
    components: Components, x_t: Tensor, timesteps: Tensor, text: TextEmbeddings, sizes: Tensor | None = None
) -> Tensor:
    """The UNet's prediction for noisy latents, computed in the model's number format.

    Args:
        components: the model.
        x_t: noisy latents [B, C, h, w].
        timesteps: int64 [B].
        text: embeddings of the captions [B, L, D], for SDXL with their pooled vectors [B, P].
        sizes: original height and width, crop top and left, target height and width in pixels [B, 6] (SDXL);
            None stands for images that were neither scaled nor cropped.
    """
    conditions = None
    if text.pooled is not None:
        conditions = {"text_embeds": text.pooled, "time_ids": plain_sizes(components, x_t) if sizes is None else sizes}
    with computing(components.arithmetic or components.unet.dtype, x_t.device):
        return components.unet(x_t, timesteps, encoder_hidden_states=text.hidden, added_cond_kwargs=conditions).sample


def plain_sizes(components: Components, latents: Tensor) -> Tensor:
    """SDXL's size conditioning for images of these latents' size, neither scaled nor cropped: [B, 6]."""
    height, width = (side * components.latent_factor for side in latents.shape[-2:])
    return latents.new_tensor([height, width, 0, 0, height, width]).expand(len(latents), 6)
