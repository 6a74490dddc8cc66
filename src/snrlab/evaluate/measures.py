"""How close pictures come to the true pictures of a style, by features of the style classifier or the user's network.

    content distance  1 - cosine of the content of a picture and of the true picture of the same concept
    paired distance   the same plus a distance of their styles, weighted so that among true pictures a wrong style
                      counts as much as a wrong concept
    KID               squared MMD with a cubic kernel between the features of pictures and of true pictures, without
                      the pairs of one concept, which would pull it below zero
    caption match     whether the concept's true picture is the nearest of 100 (chance 1 %)
    style             whether the style classifier recognises the requested style; the styles that are computed from
                      Noto, which it was not trained on, are recognised by their palette

Each has a 95 % interval over concepts. The user's network does not separate style from content: with it, the paired
distance is 1 - cosine of its features, there is no content distance, and style is still the style classifier's. None of
this is an FID, whatever the network.
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
from snrlab.evaluate.feature_source import STYLE_CLASSIFIER
from snrlab.evaluate.features import FeatureNet
from snrlab.evaluate.palette import has_palette_of
from snrlab.evaluate.style_classifier import StyleClassifier, Views, feature_views, load_style_classifier, style_weight
from snrlab.lab.statistics import Estimate, jackknife, mean

CANDIDATES = 100
SMALLEST = 20  # pictures; with fewer, groups of the jackknife would be empty


@dataclass(frozen=True, eq=False)
class Measures:
    """Measurements of one set of pictures, one value per picture.

    Attributes:
        net: name of the network that computed the features.
        features: features of the pictures [N, D]; true_features are those of their true pictures.
        distance: paired distance [N].
        content_distance: its part without style [N]; None for a network that does not separate the two.
        match: whether the caption was matched [N], 0 or 1.
        style: whether the style was the requested one [N], 0 or 1; never by the user's network.
        style_net: what recognised the style: the style classifier, or the palette.
    """

    net: str
    features: Tensor
    true_features: Tensor
    distance: NDArray[np.float64]
    content_distance: NDArray[np.float64] | None
    match: NDArray[np.float64]
    style: NDArray[np.float64]
    style_net: str = STYLE_CLASSIFIER

    def kid(self, rows: NDArray[np.int64]) -> float:
        """KID of the pictures in these rows against their true pictures: the U-statistic over pairs i != j."""
        x, y = self.features[rows].double(), self.true_features[rows].double()
        terms = cubic_kernel(x, x) + cubic_kernel(y, y) - 2 * cubic_kernel(x, y)
        n = len(rows)
        return float((terms.sum() - terms.diagonal().sum()) / (n * (n - 1)))

    def per_picture(self) -> dict[str, NDArray[np.float64]]:
        """The measures that have a value per picture, by name."""
        content = {} if self.content_distance is None else {"content distance": self.content_distance}
        return {"paired distance": self.distance, **content, "caption match": self.match, "style": self.style}

    def estimates(self, *, kid: bool = True) -> dict[str, Estimate]:
        """Every measure with its interval; `kid` needs a few hundred pictures."""
        estimates = {"KID": jackknife(self.kid, len(self.distance))} if kid else {}
        return estimates | {name: mean(values) for name, values in self.per_picture().items()}


@dataclass(frozen=True, eq=False)
class ReferenceSet:
    """Features of the true pictures of a style, by the style classifier and by the user's network if given.

    Attributes:
        classifier: the style classifier; styles are the names of its classes.
        true_views: its views of the true pictures of `style`, in the order of their concepts.
        net: the user's network, or None where the style classifier measures everything; true_features are its features
            of the true pictures [N, D].
    """

    style: str
    classifier: StyleClassifier
    styles: tuple[str, ...]
    true_views: Views
    net: FeatureNet | None
    true_features: Tensor

    @classmethod
    def of(cls, style: str, net: FeatureNet | None = None) -> ReferenceSet:
        """The reference set of a shipped style (UserError where there is no such style)."""
        classifier, styles, true_views = _reference_views(style)
        return cls(
            style, classifier, styles, true_views, net, net.extract(emoji.images(style)) if net else true_views.features
        )

    def measure(self, pictures: NDArray[np.uint8], codes: list[str], seed: int = 0) -> Measures:
        """Measure pictures of concepts, uint8 [N, H, W, 3], against their true pictures.

        Raises:
            UserError: unknown concept, or too few pictures.
        """
        rows = concept_rows(self.style, codes)
        seen = feature_views(self.classifier, torch.tensor(pictures))
        style = self._has_style(pictures, seen)
        if self.net is None:
            content, true = seen.content, self.true_views.content
            features, content_distance = seen.features, 1 - (content * true[rows]).sum(1)
            style_error = self._style_error(seen, rows, style)
            distance = content_distance + style_weight() * style_error
        else:
            features = self.net.extract(pictures)
            content, true = normalize(features, dim=1), normalize(self.true_features, dim=1)
            distance, content_distance = 1 - (content * true[rows]).sum(1), None
        return Measures(
            net=self.net.label if self.net else STYLE_CLASSIFIER,
            features=features,
            true_features=self.true_features[rows],
            distance=distance.double().numpy(),
            content_distance=None if content_distance is None else content_distance.double().numpy(),
            match=_matches(content, true, rows, seed),
            style=style,
            style_net=STYLE_CLASSIFIER if self.style in self.styles else "palette",
        )

    def _has_style(self, pictures: NDArray[np.uint8], seen: Views) -> NDArray[np.float64]:
        """Whether each picture has the style: by the classifier, or by palette where the style is a computed one."""
        if self.style in self.styles:
            return (seen.style.argmax(1) == self.styles.index(self.style)).double().numpy()
        return has_palette_of(self.style, pictures)

    def _style_error(self, seen: Views, rows: Tensor, style: NDArray[np.float64]) -> Tensor:
        """Distance of the styles from 0 to 1, where both are certain: [N]."""
        if self.style not in self.styles:
            return torch.from_numpy(1 - style)
        # half the squared distance of two distributions: 1 between two certainties
        return (seen.style.softmax(1) - self.true_views.style[rows].softmax(1)).square().sum(1) / 2


@cache
def _reference_views(style: str) -> tuple[StyleClassifier, tuple[str, ...], Views]:
    """The style classifier, its styles, and its views of the true pictures of one style; computed once per style."""
    classifier, styles = load_style_classifier()
    return classifier, styles, feature_views(classifier, torch.tensor(emoji.images(style)))


def concept_rows(style: str, codes: list[str]) -> Tensor:
    """Indices of the concepts' true pictures among those of the style.

    Raises:
        UserError: unknown style or concept, or too few of them.
    """
    if len(codes) < SMALLEST:
        raise UserError(
            f"there are {len(codes)} pictures; a confidence interval needs at least {SMALLEST}.", code="too-few-images"
        )
    rows = {concept.code: i for i, concept in enumerate(emoji.concepts(style))}
    missing = [code for code in codes if code not in rows]
    if missing:
        raise UserError(f"{missing[0]} is not a concept of the style {style}.", code="unknown-name")
    return torch.tensor([rows[code] for code in codes])


def measure(
    pictures: NDArray[np.uint8], codes: list[str], style: str, seed: int = 0, net: FeatureNet | None = None
) -> Measures:
    """Measure pictures of shipped concepts against the true pictures of a style.

    Args:
        pictures: uint8 [N, H, W, 3].
        codes: concept of each picture.
        style: the style that they should have.
        seed: seed for drawing the candidates of the caption match.
        net: the network whose features are compared; None is the style classifier.

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
    """Paired differences, after minus before, for pictures of the same concepts from the same noise."""
    changes = {"KID": jackknife(lambda rows: after.kid(rows) - before.kid(rows), len(before.distance))} if kid else {}
    earlier = before.per_picture()
    return changes | {name: mean(values - earlier[name]) for name, values in after.per_picture().items()}


def _matches(content: Tensor, true: Tensor, rows: Tensor, seed: int) -> NDArray[np.float64]:
    """Whether each picture's own concept ranks first among CANDIDATES drawn at random: [N] of 0 and 1."""
    rng = np.random.default_rng(seed)
    matches = np.zeros(len(rows))
    for i, row in enumerate(rows.tolist()):
        others = rng.choice(len(true) - 1, min(CANDIDATES, len(true)) - 1, replace=False)
        others += others >= row  # skip the picture's own concept
        candidates = torch.cat([true[row : row + 1], true[torch.from_numpy(others)]])
        matches[i] = float((candidates @ content[i]).argmax() == 0)
    return matches
