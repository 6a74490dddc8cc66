"""Training straight on pixels: the identity in place of an autoencoder, and a small UNet for it."""

from __future__ import annotations

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from torch import Tensor, nn


class Exact:
    """A distribution with all its mass at one point, as the identity's posterior is."""

    def __init__(self, value: Tensor) -> None:
        """At this value."""
        self._value = value

    def mode(self) -> Tensor:
        """The value."""
        return self._value

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """The value."""
        return self._value


class PixelIdentity(ModelMixin, ConfigMixin):
    """What an AutoencoderKL is to a pipeline, with pixels for latents: factor 1, three channels."""

    @register_to_config
    def __init__(
        self, latent_channels: int = 3, block_out_channels: tuple[int, ...] = (3,), scaling_factor: float = 1.0
    ) -> None:
        """One block, so that latents are as large as pictures."""
        super().__init__()
        # diffusers finds device and number format by a parameter
        self.unused = nn.Parameter(torch.ones(()), requires_grad=False)

    def encode(self, x: Tensor, return_dict: bool = True) -> AutoencoderKLOutput:
        """Pictures [B, 3, H, W] in -1..1 as they are."""
        return AutoencoderKLOutput(latent_dist=Exact(x))

    def decode(
        self, z: Tensor, return_dict: bool = True, generator: torch.Generator | None = None
    ) -> DecoderOutput | tuple[Tensor]:
        """Pictures [B, 3, H, W] as they are."""
        return DecoderOutput(sample=z) if return_dict else (z,)
