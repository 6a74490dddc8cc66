"""How near pictures come to the true pictures of a style, by the judge's features or those of the user's network.

    content distance  1 - cosine of the content of a picture and of the true picture of the same concept
    paired distance   the same plus a distance of their styles, which is weighted so that among true pictures a wrong
                      style counts as much as a wrong thing
    KID               squared MMD with a cubic kernel between the features of pictures and of true pictures, without
                      the pairs of one concept, which would pull it below zero
    caption match     is the concept's true picture the nearest of 100?  (chance 1 %)
    style             is the style that the judge sees the asked one?

Each with a 95 % interval over concepts. A network of the user's does not tell style from content: by it, the paired
distance is 1 - cosine of its features, there is no content distance, and the style stays the judge's. None of this is
an FID, whatever the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from snrlab.core.errors import UserError
from snrlab.data import emoji
from snrlab.evaluate.features import JUDGE, FeatureNet
from snrlab.evaluate.style_classifier import Judge, Views, feature_views, load_judge, style_weight
from snrlab.lab.statistics import Estimate, jackknife, mean

CANDIDATES = 100
SMALLEST = 20  # pictures, below which the jackknife's groups would be empty


@dataclass(frozen=True, eq=False)
class Measures:
    """What was measured in one set of pictures, per picture.

    Attributes:
        net: the network whose features these are.
        features: [N, D]; true_features the same of the true pictures.
        distance: paired distance [N].
        content_distance: the part of it that is not style [N]; None by a network that does not tell them apart.
        match: whether the caption was matched [N], 0 or 1.
        style: whether the style was the asked one [N], 0 or 1; by the judge always.
    """

    net: str
    features: Tensor
    true_features: Tensor
    distance: NDArray[np.float64]
    content_distance: NDArray[np.float64] | None
    match: NDArray[np.float64]
    style: NDArray[np.float64]

    def kid(self, rows: NDArray[np.int64]) -> float:
        """KID of the pictures in these rows against their true pictures: the U-statistic over pairs i != j."""
        x, y = self.features[rows].double(), self.true_features[rows].double()
        terms = cubic_kernel(x, x) + cubic_kernel(y, y) - 2 * cubic_kernel(x, y)
        n = len(rows)
        return float((terms.sum() - terms.diagonal().sum()) / (n * (n - 1)))

    def per_picture(self) -> dict[str, NDArray[np.float64]]:
        """The measures that each picture has one of, by name."""
        content = {} if self.content_distance is None else {"content distance": self.content_distance}
        return {"paired distance": self.distance, **content, "caption match": self.match, "style": self.style}

    def estimates(self, *, kid: bool = True) -> dict[str, Estimate]:
        """Every measure with its interval; `kid` needs a few hundred pictures."""
        found = {"KID": jackknife(self.kid, len(self.distance))} if kid else {}
        return found | {name: mean(values) for name, values in self.per_picture().items()}


@dataclass(frozen=True, eq=False)
class ReferenceSet:
    """The true pictures of a style, as seen by the judge and by the network of the user's where there is one.

    Attributes:
        judge: the network; styles the names of the styles it tells apart.
        true: what it sees in the true pictures of `style`, in the order of their concepts.
        net: the user's network, or None where the judge measures everything; true_features what it sees there [N, D].
    """

    style: str
    judge: Judge
    styles: tuple[str, ...]
    true: Views
    net: FeatureNet | None
    true_features: Tensor

    @classmethod
    def of(cls, style: str, net: FeatureNet | None = None) -> ReferenceSet:
        """The yardstick of a shipped style (UserError where there is no such style)."""
        judge, styles, true = _judged(style)
        return cls(style, judge, styles, true, net, net.see(emoji.images(style)) if net else true.features)

    def measure(self, pictures: NDArray[np.uint8], codes: list[str], seed: int = 0) -> Measures:
        """Measure pictures of concepts, uint8 [N, H, W, 3], against their true pictures.

        Raises:
            UserError: unknown concept, or too few pictures.
        """
        rows = concept_rows(self.style, codes)
        seen = feature_views(self.judge, torch.tensor(pictures))
        style = (seen.style.argmax(1) == self.styles.index(self.style)).double().numpy()
        if self.net is None:
            content, true = seen.content, self.true.content
            features, content_distance = seen.features, 1 - (content * true[rows]).sum(1)
            # half the squared distance of two distributions: 1 between two certainties
            style_error = (seen.style.softmax(1) - self.true.style[rows].softmax(1)).square().sum(1) / 2
            distance = content_distance + style_weight() * style_error
        else:
            features = self.net.see(pictures)
            content, true = normalize(features, dim=1), normalize(self.true_features, dim=1)
            distance, content_distance = 1 - (content * true[rows]).sum(1), None
        return Measures(
            net=self.net.label if self.net else JUDGE,
            features=features,
            true_features=self.true_features[rows],
            distance=distance.double().numpy(),
            content_distance=None if content_distance is None else content_distance.double().numpy(),
            match=_matches(content, true, rows, seed),
            style=style,
        )


@cache
def _judged(style: str) -> tuple[Judge, tuple[str, ...], Views]:
    """The judge, its styles, and what it sees in the true pictures of one: the same whenever it is asked."""
    judge, styles = load_judge()
    return judge, styles, feature_views(judge, torch.tensor(emoji.images(style)))


def concept_rows(style: str, codes: list[str]) -> Tensor:
    """Where the concepts' true pictures stand among those of the style.

    Raises:
        UserError: unknown style or concept, or too few of them.
    """
    if len(codes) < SMALLEST:
        raise UserError(
            f"there are {len(codes)} pictures; at least {SMALLEST} are needed for an interval.", code="too-few-images"
        )
    place = {concept.code: i for i, concept in enumerate(emoji.concepts(style))}
    missing = [code for code in codes if code not in place]
    if missing:
        raise UserError(f"{missing[0]} is no concept of the style {style}.", code="unknown-name")
    return torch.tensor([place[code] for code in codes])


def measure(
    pictures: NDArray[np.uint8], codes: list[str], style: str, seed: int = 0, net: FeatureNet | None = None
) -> Measures:
    """Measure pictures of shipped concepts against the true pictures of a style.

    Args:
        pictures: uint8 [N, H, W, 3].
        codes: the concept of each.
        style: the style they should have.
        seed: of the draw of the other candidates.
        net: the network whose features are compared; None is the judge.

    Raises:
        UserError: unknown style or concept, or too few pictures.
    """
    return ReferenceSet.of(style, net).measure(pictures, codes, seed)


def cubic_kernel(x: Tensor, y: Tensor) -> Tensor:
    """KID's kernel (x . y / D + 1)^3 between features x [N, D] and y [M, D], arXiv:1801.01401: [N, M].

    >>> cubic_kernel(torch.tensor([[1.0, 1.0], [0.0, 2.0]]), torch.tensor([[1.0, 3.0]]))
    tensor([[27.],
            [64.]])
    """
    kernel: Tensor = (x @ y.T * (1 / x.shape[1]) + 1) ** 3
    return kernel


def differences(before: Measures, after: Measures, *, kid: bool = True) -> dict[str, Estimate]:
    """After minus before, for pictures of the same concepts from the same noise, in pairs."""
    found = {"KID": jackknife(lambda rows: after.kid(rows) - before.kid(rows), len(before.distance))} if kid else {}
    was = before.per_picture()
    return found | {name: mean(values - was[name]) for name, values in after.per_picture().items()}


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
