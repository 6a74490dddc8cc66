"""The examples of a run as the network sees them: encoded once, served by step and slot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from snrlab.config.run import RunConfig
from snrlab.core.draws import data_index, stream
from snrlab.data.captions import vary
from snrlab.data.examples import Examples
from snrlab.models.components import Components
from snrlab.models.encode import Text, encode_captions, encode_pixels, encode_text
from snrlab.train.batch import Batch
from snrlab.train.draws import Draws, Slots


@dataclass(frozen=True, eq=False)
class HeldBack:
    """Examples for validation: latents [N, C, h, w], captions and names."""

    latents: Tensor
    captions: tuple[str, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Conditions:
    """Latents and text of the examples, and which of them a slot gets.

    Attributes:
        latents: [N, C, h, w]; mirrored: the same of the mirrored images, or None without flips.
        text: embeddings of the captions [N + 1, L, D], the last of the empty one; None where captions vary or a text
            encoder is trained, then they are encoded at every step.
    """

    config: RunConfig
    draws: Draws
    latents: Tensor
    mirrored: Tensor | None
    text: Text | None
    captions: tuple[str, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.names)

    def examples(self, step: int, slots: Slots) -> tuple[int, list[int]]:
        """(epoch of the first slot, indices of the examples) for the slots of a step."""
        found = [data_index(self.config.seed, step, int(s), self.draws.total, len(self)) for s in slots]
        return found[0][0], [index for _, index in found]

    def batch(self, components: Components, step: int, slots: Slots, device: torch.device) -> Batch:
        """What the slots of a step are given."""
        _, indices = self.examples(step, slots)
        x0 = self.latents[indices]
        if self.mirrored is not None:
            flipped = torch.from_numpy(self.draws.flipped(step, slots))
            x0 = torch.where(flipped.view(-1, 1, 1, 1), self.mirrored[indices], x0)
        dropped = self.draws.dropped(step, slots, self.config.data.caption_dropout)
        if self.text is not None:
            text = self.text[np.where(dropped, len(self), indices)]
        else:
            captions = ["" if d else self._caption(step, s, i) for d, s, i in zip(dropped, slots, indices, strict=True)]
            text = encode_text(components, captions)
        return Batch(x0.to(device), text.to(device))

    def _caption(self, step: int, slot: int, index: int) -> str:
        data = self.config.data
        rng = stream(self.config.seed, "caption", step, int(slot))
        return vary(self.captions[index], rng, shuffle=data.shuffle_tags, tag_dropout=data.tag_dropout)


def encode_examples(
    config: RunConfig, components: Components, draws: Draws, examples: Examples, device: torch.device
) -> Conditions:
    """Encode what can be encoded once."""
    data = config.data
    fixed_text = not (config.train.trains_text or data.shuffle_tags or data.tag_dropout)
    return Conditions(
        config=config,
        draws=draws,
        latents=encode_pixels(components, examples.pixels, device),
        mirrored=encode_pixels(components, examples.pixels[:, :, ::-1].copy(), device) if data.flip else None,
        text=encode_captions(components, [*examples.captions, ""]) if fixed_text else None,
        captions=examples.captions,
        names=examples.names,
    )


def encode_held_back(components: Components, examples: Examples, device: torch.device) -> HeldBack | None:
    """The examples for validation, or None where there are none."""
    if not len(examples):
        return None
    return HeldBack(encode_pixels(components, examples.pixels, device), examples.captions, examples.names)
