"""[lora]: the adapter."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from snrlab.config.section import Section

LoraLayers = Literal["attention", "feed_forward", "convolution"]


class LoraConfig(Section):
    """[lora]: the adapter, where train.method is lora."""

    rank: int = Field(16, ge=1, le=1024, description="Rank of the update (network_dim).")
    alpha: float | None = Field(None, gt=0, description="Scale is alpha / rank (network_alpha); by default the rank.")
    layers: list[LoraLayers] = Field(
        ["attention", "feed_forward"],
        min_length=1,
        description="Kinds of layers that get an adapter; with convolution this is known as LoCon.",
    )
