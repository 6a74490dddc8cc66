"""The style classifier (judge.safetensors): a small feature network for comparing pictures of the shipped styles.

It was trained (`scripts/train_judge.py`) so that a concept has similar content features in every style, with a head
that classifies the style; it never saw the concepts held out from all shipped weights.
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
    """Outputs of the style classifier for N pictures.

    Attributes:
        features: features of style and content [N, 256], on which KID is computed.
        content: content features of norm 1 [N, 96]; close for one concept in different styles.
        style: logits of the styles [N, styles].
    """

    features: Tensor
    content: Tensor
    style: Tensor


class DownBlock(nn.Module):
    """Downsampling by 2, then one residual convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        """Build the convolutions from `inputs` to `outputs` channels."""
        super().__init__()
        self.down = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
        self.norm = nn.GroupNorm(8, outputs)
        self.conv = nn.Conv2d(outputs, outputs, 3, padding=1, groups=outputs // 16)
        self.mix = nn.Conv2d(outputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, h, w] to [N, outputs, h/2, w/2]."""
        x = functional.silu(self.norm(self.down(x)))
        return x + self.mix(functional.silu(self.conv(x)))


class StyleClassifier(nn.Module):
    """The network, for pictures [N, 3, 64, 64] in 0..1."""

    def __init__(self, styles: int) -> None:
        """Build the network for this number of styles."""
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
    """Weight of the style in distances, relative to the content.

    Set by `scripts/train_judge.py` on true pictures of held-out concepts, so that the same concept in another style is
    as far away as another concept in the same style.
    """
    return float(
        json.loads((Path(str(resources.files(__name__))) / "config.json").read_text(encoding="utf-8"))["style_weight"]
    )


def load_style_classifier() -> tuple[StyleClassifier, tuple[str, ...]]:
    """Load the shipped style classifier in evaluation mode; also the names of its styles."""
    folder = Path(str(resources.files(__name__)))
    styles = tuple(json.loads((folder / "config.json").read_text(encoding="utf-8"))["styles"])
    classifier = StyleClassifier(len(styles))
    classifier.load_state_dict({k: v.float() for k, v in load_file(folder / "judge.safetensors").items()})
    return classifier.eval().requires_grad_(False), styles


@torch.no_grad()
def feature_views(classifier: StyleClassifier, pictures: Tensor, batch: int = 256) -> Views:
    """The style classifier's outputs for pictures, uint8 [N, H, W, 3] of any size, computed in batches."""
    views = []
    for batch_pictures in pictures.split(batch):
        images = batch_pictures.permute(0, 3, 1, 2).float() / 255
        if images.shape[-1] != 64:
            images = functional.interpolate(images, size=(64, 64), mode="area")
        views.append(classifier(images))
    return Views(*(torch.cat(column) for column in zip(*views, strict=True)))
