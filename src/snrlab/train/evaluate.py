"""How near pictures come to the true pictures of a style, by the judge's features.

    content distance  1 - cosine of the content of a picture and of the true picture of the same concept
    paired distance   the same plus a distance of their styles, which is weighted so that among true pictures a wrong
                      style counts as much as a wrong thing
    KID               squared MMD with a cubic kernel between the features of pictures and of true pictures, without
                      the pairs of one concept, which would pull it below zero
    caption match     is the concept's true picture the nearest of 100?  (chance 1 %)
    style             is the style that the judge sees the asked one?

Each with a 95 % interval over concepts. None of this is an FID: the features are the judge's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snrlab.core.errors import UserError, unknown
from snrlab.data import emoji
from snrlab.lab.statistics import Estimate, jackknife, mean
from snrlab.models.judge import load_judge, style_weight, view

CANDIDATES = 100
SMALLEST = 20  # pictures, below which the jackknife's groups would be empty


@dataclass(frozen=True, eq=False)
class Measures:
    """What the judge measured in one set of pictures, per picture.

    Attributes:
        features: [N, 256]; true_features the same of the true pictures.
        distance: paired distance [N]; content_distance the part of it that is not style [N].
        match: whether the caption was matched [N], 0 or 1.
        style: whether the style was the asked one [N], 0 or 1.
    """

    features: Tensor
    true_features: Tensor
    distance: NDArray[np.float64]
    content_distance: NDArray[np.float64]
    match: NDArray[np.float64]
    style: NDArray[np.float64]

    def kid(self, rows: NDArray[np.int64]) -> float:
        """KID of the pictures in these rows against their true pictures: the U-statistic over pairs i != j."""
        from torchmetrics.image.kid import poly_kernel  # of the extra metrics, which nothing else needs

        x, y = self.features[rows].double(), self.true_features[rows].double()
        terms = poly_kernel(x, x) + poly_kernel(y, y) - 2 * poly_kernel(x, y)
        n = len(rows)
        return float((terms.sum() - terms.diagonal().sum()) / (n * (n - 1)))

    def estimates(self, *, kid: bool = True) -> dict[str, Estimate]:
        """Every measure with its interval; `kid` needs torchmetrics and a few hundred pictures."""
        found = {"KID": jackknife(self.kid, len(self.distance))} if kid else {}
        return found | {
            "paired distance": mean(self.distance),
            "content distance": mean(self.content_distance),
            "caption match": mean(self.match),
            "style": mean(self.style),
        }


def measure(pictures: NDArray[np.uint8], codes: list[str], style: str, seed: int = 0) -> Measures:
    """Measure pictures of shipped concepts against the true pictures of a style.

    Args:
        pictures: uint8 [N, H, W, 3].
        codes: the concept of each.
        style: the style they should have.
        seed: of the draw of the other candidates.

    Raises:
        UserError: unknown style or concept, or too few pictures.
    """
    if style not in emoji.styles():
        raise unknown("style", style, emoji.styles())
    if len(codes) < SMALLEST:
        raise UserError(f"there are {len(codes)} pictures; at least {SMALLEST} are needed for an interval.")
    place = {concept.code: i for i, concept in enumerate(emoji.concepts(style))}
    missing = [code for code in codes if code not in place]
    if missing:
        raise UserError(f"{missing[0]} is no concept of the style {style}.")
    judge, styles = load_judge()
    seen, true = (view(judge, torch.tensor(p)) for p in (pictures, emoji.images(style)))
    rows = torch.tensor([place[code] for code in codes])
    content = 1 - (seen.content * true.content[rows]).sum(1)
    # half the squared distance of two distributions: 1 between two certainties
    style_error = (seen.style.softmax(1) - true.style[rows].softmax(1)).square().sum(1) / 2
    return Measures(
        features=seen.features,
        true_features=true.features[rows],
        distance=(content + style_weight() * style_error).double().numpy(),
        content_distance=content.double().numpy(),
        match=_matches(seen.content, true.content, rows, seed),
        style=(seen.style.argmax(1) == styles.index(style)).double().numpy(),
    )


def differences(before: Measures, after: Measures, *, kid: bool = True) -> dict[str, Estimate]:
    """After minus before, for pictures of the same concepts from the same noise, in pairs."""
    found = {"KID": jackknife(lambda rows: after.kid(rows) - before.kid(rows), len(before.distance))} if kid else {}
    return found | {
        "paired distance": mean(after.distance - before.distance),
        "content distance": mean(after.content_distance - before.content_distance),
        "caption match": mean(after.match - before.match),
        "style": mean(after.style - before.style),
    }


def _matches(content: Tensor, true: Tensor, rows: Tensor, seed: int) -> NDArray[np.float64]:
    """Top-1 of CANDIDATES: the own concept among others drawn at random, [N] of 0 and 1."""
    rng = np.random.default_rng(seed)
    found = np.zeros(len(rows))
    for i, own in enumerate(rows.tolist()):
        others = rng.choice(len(true) - 1, min(CANDIDATES, len(true)) - 1, replace=False)
        others += others >= own  # all but the own
        candidates = torch.cat([true[own : own + 1], true[torch.from_numpy(others)]])
        found[i] = float((candidates @ content[i]).argmax() == 0)
    return found
