"""Encoding images to latents and captions to text embeddings, and decoding latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snrlab.core.errors import UserError
from snrlab.models.arithmetic import computing
from snrlab.models.components import Components
from snrlab.models.encoding.tokens import Tokens, tokenize

if TYPE_CHECKING:
    from snrlab.models.components import Network

ENCODE_BATCH = 32
_AREA = 2**20  # pixels decoded at a time: 4 pictures of 512 x 512


@dataclass(frozen=True, eq=False)
class TextEmbeddings:
    """Text conditioning of a UNet for N captions.

    Attributes:
        hidden: hidden states for cross-attention [N, L, D].
        pooled: one vector per caption [N, P], where the family has it (SDXL).
    """

    hidden: Tensor
    pooled: Tensor | None = None

    def __getitem__(self, rows: Any) -> TextEmbeddings:
        """The embeddings of these rows."""
        return TextEmbeddings(self.hidden[rows], None if self.pooled is None else self.pooled[rows])

    def to(self, device: torch.device) -> TextEmbeddings:
        """The same embeddings on a device."""
        return TextEmbeddings(self.hidden.to(device), None if self.pooled is None else self.pooled.to(device))


@torch.no_grad()
def encode_pixels(
    components: Components, pixels: NDArray[np.uint8], device: torch.device, batch_size: int = ENCODE_BATCH
) -> Tensor:
    """Scaled latents of images (the mean of the autoencoder's posterior), fp32 on the CPU: [N, C, h, w].

    Args:
        components: the model; the autoencoder works in the number format of its weights.
        pixels: images, uint8 [N, H, W, 3].
        device: device of the autoencoder.
        batch_size: images encoded at a time.
    """
    factor = components.latent_factor
    height, width = pixels.shape[1:3]
    if height % factor or width % factor:
        raise UserError(
            f"data.resolution: an image of {width} x {height}; this model needs multiples of {factor}.",
            code="wrong-size",
        )
    config = components.vae.config
    shift = config.get("shift_factor") or 0.0
    encoded = []
    for start in range(0, len(pixels), batch_size):
        batch = torch.tensor(pixels[start : start + batch_size], dtype=torch.float32, device=device)
        images = batch.permute(0, 3, 1, 2) / 127.5 - 1  # [B, 3, H, W] in -1..1
        latents = components.vae.encode(images.to(components.vae.dtype)).latent_dist.mode()
        encoded.append(((latents.float() - shift) * config.scaling_factor).cpu())
    return torch.cat(encoded)


@torch.no_grad()
def decode_latents(components: Components, latents: Tensor, device: torch.device) -> Tensor:
    """Pictures decoded from latents [N, C, h, w], fp32 on the CPU: [N, 3, H, W], mostly within -1..1."""
    vae, factor = components.vae, components.latent_factor
    shift = vae.config.get("shift_factor") or 0.0
    at_once = _AREA // (latents.shape[2] * latents.shape[3] * factor**2)
    batches = latents.split(min(ENCODE_BATCH, max(1, at_once)))
    scaled = (batch.to(device) / vae.config.scaling_factor + shift for batch in batches)
    return torch.cat([vae.decode(batch.to(vae.dtype), return_dict=False)[0].float().cpu() for batch in scaled])


def encode_text(components: Components, captions: Sequence[str]) -> TextEmbeddings:
    """Text embeddings by the components' encode rule, on the text encoder's device, with gradients where it is trained.

    SDXL conditions on the second last layer of both encoders, concatenated, and on the second encoder's projected
    vector of the first chunk; the other families on one layer of one encoder, after its final norm.
    """
    rule, first = components.encode_rule, components.text_encoder
    with computing(components.arithmetic or first.dtype, first.device):
        tokens = tokenize(components.tokenizer, captions, rule)
        if components.text_encoder_2 is None or components.tokenizer_2 is None:
            return TextEmbeddings(tokens.join(_normed_layer(first, tokens, rule.clip_skip or 1)))
        tokens_2 = tokenize(components.tokenizer_2, captions, rule)
        first_states = _run_encoder(first, tokens, output_hidden_states=True).hidden_states[-2]
        second_output = _run_encoder(components.text_encoder_2, tokens_2, output_hidden_states=True)
        hidden = torch.cat([tokens.join(first_states), tokens_2.join(second_output.hidden_states[-2])], dim=-1)
        return TextEmbeddings(hidden, second_output.text_embeds[:: rule.chunks])


@torch.no_grad()
def encode_captions(components: Components, captions: Sequence[str]) -> TextEmbeddings:
    """Text embeddings of any number of captions, fp32 on the CPU, computed batch by batch."""
    batches = [encode_text(components, captions[i : i + ENCODE_BATCH]) for i in range(0, len(captions), ENCODE_BATCH)]
    pooled = [part.pooled.float().cpu() for part in batches if part.pooled is not None]
    return TextEmbeddings(
        torch.cat([part.hidden.float().cpu() for part in batches]), torch.cat(pooled) if pooled else None
    )


def _run_encoder(encoder: Network, tokens: Tokens, **kwargs: bool) -> Any:
    return encoder(tokens.ids.to(encoder.device), **kwargs)


def _normed_layer(encoder: Network, tokens: Tokens, number: int) -> Tensor:
    """The `number`-th last layer after the final norm: [N * chunks, length, D]."""
    if number == 1:
        return _run_encoder(encoder, tokens)[0]
    state = _run_encoder(encoder, tokens, output_hidden_states=True).hidden_states[-number]
    stack: Any = getattr(encoder, "text_model", encoder)  # transformers 5 dropped the level
    return stack.final_layer_norm(state)
