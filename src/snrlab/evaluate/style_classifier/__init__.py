"""The judge: a small feature network by which pictures of the shipped styles are compared.

It was trained (`scripts/train_judge.py`) so that one concept lies close in every style, with a head that tells
the styles apart; the concepts held out from all shipped weights were never shown to it.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (32, 64, 96, 128)
_FEATURES = 256
CONTENT = 96


class Views(NamedTuple):
    """What the judge sees in pictures.

    Attributes:
        features: [N, 256], style and content; distances and KID are taken here.
        content: [N, 96] of length 1; the same concept in another style lies close.
        style: [N, styles] logits.
    """

    features: Tensor
    content: Tensor
    style: Tensor


class DownBlock(nn.Module):
    """Halve the resolution, then one residual convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        """Convolutions from `inputs` to `outputs` channels."""
        super().__init__()
        self.down = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
        self.norm = nn.GroupNorm(8, outputs)
        self.conv = nn.Conv2d(outputs, outputs, 3, padding=1, groups=outputs // 16)
        self.mix = nn.Conv2d(outputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, h, w] to [N, outputs, h/2, w/2]."""
        x = functional.silu(self.norm(self.down(x)))
        return x + self.mix(functional.silu(self.conv(x)))


class Judge(nn.Module):
    """The network; pictures go in as [N, 3, 64, 64] in 0..1."""

    def __init__(self, styles: int) -> None:
        """A judge that knows this number of styles."""
        super().__init__()
        self.blocks = nn.Sequential(*(DownBlock(a, b) for a, b in zip((3, *WIDTHS), WIDTHS, strict=False)))
        self.features = nn.Linear(WIDTHS[-1] * 4, _FEATURES)
        self.content = nn.Linear(_FEATURES, CONTENT)
        self.style = nn.Linear(_FEATURES, styles)

    def forward(self, pictures: Tensor) -> Views:
        """Features, content and style of the pictures."""
        grid = functional.adaptive_avg_pool2d(self.blocks(pictures * 2 - 1), 2)
        features = self.features(grid.flatten(1))
        hidden = functional.silu(features)
        return Views(features, functional.normalize(self.content(hidden), dim=1), self.style(hidden))


def style_weight() -> float:
    """How much a wrong style counts in distances, beside the content.

    Set by `scripts/train_judge.py` on true pictures of held-out concepts, so that the same thing in another style
    is as far away as another thing in the same style.
    """
    return float(
        json.loads((Path(str(resources.files(__name__))) / "config.json").read_text(encoding="utf-8"))["style_weight"]
    )


def load_judge() -> tuple[Judge, tuple[str, ...]]:
    """The shipped judge in evaluation mode, and the names of the styles it tells apart."""
    folder = Path(str(resources.files(__name__)))
    styles = tuple(json.loads((folder / "config.json").read_text(encoding="utf-8"))["styles"])
    judge = Judge(len(styles))
    judge.load_state_dict({k: v.float() for k, v in load_file(folder / "judge.safetensors").items()})
    return judge.eval().requires_grad_(False), styles


@torch.no_grad()
def feature_views(judge: Judge, pictures: Tensor, batch: int = 256) -> Views:
    """The judge's views of many pictures, uint8 [N, H, W, 3] of any size."""
    found = []
    for part in pictures.split(batch):
        images = part.permute(0, 3, 1, 2).float() / 255
        if images.shape[-1] != 64:
            images = functional.interpolate(images, size=(64, 64), mode="area")
        found.append(judge(images))
    return Views(*(torch.cat(column) for column in zip(*found, strict=True)))
