"""Training directly on pixels: an identity in place of the autoencoder, and a small UNet's config."""

from __future__ import annotations

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from torch import Tensor, nn


class PointDistribution:
    """A distribution with all its mass at one point: the posterior of the identity."""

    def __init__(self, value: Tensor) -> None:
        """Place all mass at this value."""
        self._value = value

    def mode(self) -> Tensor:
        """The value."""
        return self._value

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """The value."""
        return self._value


class PixelIdentity(ModelMixin, ConfigMixin):
    """Drop-in for AutoencoderKL whose latents are the pixels: factor 1, three channels."""

    @register_to_config
    def __init__(
        self, latent_channels: int = 3, block_out_channels: tuple[int, ...] = (3,), scaling_factor: float = 1.0
    ) -> None:
        """Configure one block, so that latents are as large as images."""
        super().__init__()
        # diffusers reads device and number format from a parameter
        self.unused = nn.Parameter(torch.ones(()), requires_grad=False)

    def encode(self, x: Tensor, return_dict: bool = True) -> AutoencoderKLOutput:
        """Return images [B, 3, H, W] in -1..1 as their own latents."""
        return AutoencoderKLOutput(latent_dist=PointDistribution(x))

    def decode(
        self, z: Tensor, return_dict: bool = True, generator: torch.Generator | None = None
    ) -> DecoderOutput | tuple[Tensor]:
        """Return latents [B, 3, H, W] as pictures."""
        return DecoderOutput(sample=z) if return_dict else (z,)
