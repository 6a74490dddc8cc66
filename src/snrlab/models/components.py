"""The parts of a Stable Diffusion model: 1.5, 2 or XL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from snrlab.core.errors import UserError
from snrlab.model_files.families import Family
from snrlab.model_files.model_facts import ModelFacts
from snrlab.model_files.recognise import Claim
from snrlab.models.encode_rule import PLAIN_RULE, EncodeRule
from snrlab.models.pixels import PixelIdentity

if TYPE_CHECKING:

    class Network(nn.Module):
        """A network of diffusers or transformers: the attributes that both add to a module."""

        config: Any
        device: torch.device
        dtype: torch.dtype

        def add_adapter(self, adapter_config: Any) -> None:
            """Add peft adapters to its layers."""
            ...


ENCODERS = ("text_encoder", "text_encoder_2")


@dataclass(frozen=True, eq=False)
class Components:
    """A model: its networks, tokenizers and scheduler config.

    Attributes:
        text_encoder_2, tokenizer_2: SDXL's second text encoder and tokenizer, else None.
        scheduler_config: content of scheduler/scheduler_config.json, which gives the noise schedule and the
            prediction type that the model was trained with.
        label: name of the model in messages and metadata; never a path.
        prediction_source: where the prediction type and the schedule are known from, in words.
        assumed: which of the two are assumed because the model does not state them; a run file may then set them
            without `convert`.
        extras: tensors of the original single file that belong to no network, by their names in the file.
        encode_rule: how captions become embeddings, wherever this model is used.
        arithmetic: number format that the UNet and the text encoders compute in; None is that of their weights.
    """

    vae: AutoencoderKL | PixelIdentity
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    unet: UNet2DConditionModel
    scheduler_config: dict[str, Any]
    label: str
    text_encoder_2: CLIPTextModelWithProjection | None = None
    tokenizer_2: CLIPTokenizer | None = None
    prediction_source: str = "its scheduler_config.json"
    assumed: frozenset[Claim] = frozenset()
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    encode_rule: EncodeRule = PLAIN_RULE
    arithmetic: torch.dtype | None = None

    @property
    def networks(self) -> dict[str, Network]:
        """Networks by the name of their folder."""
        networks = {name: getattr(self, name) for name in ("vae", "text_encoder", "text_encoder_2", "unet")}
        return {name: network for name, network in networks.items() if network is not None}

    @property
    def tokenizers(self) -> dict[str, CLIPTokenizer]:
        """Tokenizers by the name of their folder."""
        second = {} if self.tokenizer_2 is None else {"tokenizer_2": self.tokenizer_2}
        return {"tokenizer": self.tokenizer, **second}

    @property
    def family(self) -> Family:
        """The Stable Diffusion family that the model belongs to, by its structure."""
        if self.text_encoder_2 is not None:
            return "sdxl"
        return "sd2" if self.unet.config.use_linear_projection else "sd1"

    @property
    def latent_factor(self) -> int:
        """Image pixels per latent element along each side."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def facts(self) -> ModelFacts:
        """The facts that the model's files state, independent of its weights."""
        return ModelFacts(self.label, self.scheduler_config, self.prediction_source, self.assumed)

    @property
    def prediction_type(self) -> str | None:
        """Prediction type of the network; None where neither the model nor its family states one."""
        return self.facts.prediction_type

    def known_prediction_type(self) -> str:
        """Prediction type of the network (UserError where it is unknown)."""
        if self.prediction_type is None:
            raise UserError(
                f"{self.label} does not say what it predicts ({self.prediction_source}). State it: "
                'prediction_type = "v_prediction" or "epsilon" under [recipe] of a run file.',
                code="unknown-prediction-type",
            )
        return self.prediction_type

    def to(self, device: torch.device) -> Components:
        """Move the networks to a device, in place."""
        for network in self.networks.values():
            network.to(device)
        return self

    def freeze(self) -> None:
        """Switch every network to evaluation mode without gradients."""
        for network in self.networks.values():
            network.eval().requires_grad_(False)
