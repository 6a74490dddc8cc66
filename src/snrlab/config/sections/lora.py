"""[lora]: rank, layers and dropout of the adapter."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from snrlab.config.sections.section import PLACE, Section
from snrlab.core.errors import UserError

LoraLayers = Literal["attention", "feed_forward", "convolution"]
Rank = Annotated[int, Field(ge=1, le=1024)]
BlockRank = Annotated[int, Field(ge=0, le=1024)]
Alpha = Annotated[float, Field(gt=0)]
DROPOUTS = ("dropout", "rank_dropout", "module_dropout")


class LoraConfig(Section):
    """[lora]: the adapter, if train.method is lora.

    `conv_rank`, `conv_alpha` and the conv tables apply to 3 x 3 convolutions; 1 x 1 convolutions count as linear
    layers, as in kohya's network.
    """

    rank: Rank = Field(16, description="Rank of the update (network_dim).")
    alpha: Alpha | None = Field(None, description="Scale is alpha / rank (network_alpha); by default the layer's rank.")
    layers: list[LoraLayers] = Field(
        ["attention", "feed_forward"],
        min_length=1,
        description="Kinds of layers that get an adapter; with convolution this is known as LoCon.",
    )
    conv_rank: Rank | None = Field(None, description="Rank in 3 x 3 convolutions (conv_dim); by default as rank.")
    conv_alpha: Alpha | None = Field(None, description="Alpha in 3 x 3 convolutions; by default as alpha.")
    block_ranks: dict[str, BlockRank] = Field(
        default_factory=dict,
        description="Rank by block of the UNet, such as down_blocks.1 or mid_block.attentions.0; the longest name that "
        "fits counts, 0 leaves the block out (block_dims).",
    )
    block_alphas: dict[str, Alpha] = Field(default_factory=dict, description="Alpha by block of the UNet.")
    conv_block_ranks: dict[str, BlockRank] = Field(
        default_factory=dict, description="Rank by block in 3 x 3 convolutions; by default as conv_rank."
    )
    conv_block_alphas: dict[str, Alpha] = Field(
        default_factory=dict, description="Alpha by block in 3 x 3 convolutions; by default as conv_alpha."
    )
    dora: bool = Field(False, description="Train the length of every weight row apart from its direction (DoRA).")
    dropout: float = Field(
        0.0, ge=0, lt=1, description="Share of the values between down and up that are set to zero at random."
    )
    rank_dropout: float = Field(0.0, ge=0, lt=1, description="Part of the ranks that is left out, by example.")
    module_dropout: float = Field(0.0, ge=0, lt=1, description="Part of the adapters that is left out, by example.")
    loraplus_ratio: float | None = Field(
        None, gt=0, description="Learning rate of the up matrices is this many times that of the others (LoRA+)."
    )
    max_norm: float | None = Field(
        None, gt=0, description="After a step, updates with a larger Frobenius norm shrink to it (scale_weight_norms)."
    )
    start_from: str | None = Field(
        None,
        description="LoRA file to go on from, with the same layers and ranks (network_weights).",
        json_schema_extra=PLACE,
    )

    @model_validator(mode="after")
    def _check_nothing_is_ignored(self) -> LoraConfig:
        conv = ("conv_rank", "conv_alpha", "conv_block_ranks", "conv_block_alphas")
        given = [name for name in conv if getattr(self, name)]
        if given and "convolution" not in self.layers:
            raise UserError(
                f'{given[0]} is set but layers has no "convolution"; add it, or leave {given[0]} out.',
                code="unused-option",
                field=given[0],
            )
        dropouts = [name for name in DROPOUTS if getattr(self, name)]
        if self.dora and dropouts:
            raise UserError(
                f"{dropouts[0]} cannot go with dora, whose weight depends on the whole update; use one.",
                code="conflicting-options",
                field=dropouts[0],
            )
        return self
