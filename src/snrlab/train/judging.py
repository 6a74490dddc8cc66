"""Evaluating what was trained: pictures of shipped concepts, with and without the adapter, and its losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snrlab.config.output import SampleConfig
from snrlab.core.errors import UserError
from snrlab.core.schedule import NoiseSchedule
from snrlab.data import emoji
from snrlab.data.emoji import Concept
from snrlab.data.examples import load_items
from snrlab.data.folder import scan
from snrlab.data.pixels import load_pixels
from snrlab.lab.statistics import Estimate, mean
from snrlab.models.encode import encode_captions, encode_pixels
from snrlab.train.evaluate import differences, measure
from snrlab.train.sampling import sample
from snrlab.train.saved import Saved
from snrlab.train.validation import by_band, epsilon_errors

LOSS_PICTURES = 96
SIZE = 64  # the judge's
Drawn = dict[tuple[str | None, float | None], NDArray[np.uint8]]  # pictures [N, H, W, 3] by (adapter, strength)


@dataclass(frozen=True)
class Row:
    """Measures of one set of pictures.

    Attributes:
        name: `model` without an adapter, `step 200` or `final` with one, `pictures` for a folder.
        strength: of the adapter.
        measures: KID, paired distance, caption match, style.
        change: the same minus the model's without an adapter, in pairs.
        loss: unweighted epsilon error by SNR band on true pictures; `loss_change` against the model's.
    """

    name: str
    strength: float | None
    measures: dict[str, Estimate]
    change: dict[str, Estimate] = field(default_factory=dict)
    loss: dict[str, Estimate] = field(default_factory=dict)
    loss_change: dict[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """What was measured on `count` pictures against the true pictures of `style`; the first row is the model's."""

    count: int
    style: str
    rows: tuple[Row, ...]


def choose_concepts(style: str, which: str, count: int, seen: Sequence[str]) -> list[Concept]:
    """Concepts of a style to evaluate on: known to the base or held out from it, never those in `seen`.

    Raises:
        UserError: fewer than `count` are left.
    """
    left = [c for c in emoji.concepts(style) if c.held_out == (which == "held_out") and c.code not in set(seen)]
    if which == "held_out":
        count = min(count, len(left))
    if len(left) < count:
        raise UserError(f"--count is {count}, but only {len(left)} {which} concepts are left to evaluate on.")
    places = np.sort(np.random.default_rng(0).permutation(len(left))[:count])
    return [left[i] for i in places]


def seen_in_training(saved: Saved) -> tuple[str, ...]:
    """Codes of the shipped pictures that a run was trained on."""
    if saved.config is None or saved.config.data.shipped is None:
        return ()
    trained, _ = load_items(saved.config.data, saved.config.seed, saved.config.validation.images)
    return tuple(item.name for item in trained)


def evaluate_pipeline(
    saved: Saved, concepts: Sequence[Concept], style: str, settings: SampleConfig, strengths: Sequence[float] = (1.0,)
) -> Evaluation:
    """Draw every concept without and with each adapter at each strength, from the same noise; measure and compare.

    `settings.prompts` is not read: the prompts are the concepts' captions.
    """
    found = judge(concepts, style, draw(saved, concepts, settings, strengths))
    base, *rows = found.rows
    saved.use(None)
    base_loss = _losses(saved, concepts, style)
    with_losses = [replace(base, loss=_means(base_loss))]
    for row in rows:
        saved.use(row.name, row.strength or 0.0)
        loss = _losses(saved, concepts, style)
        change = _means({band: loss[band] - base_loss[band] for band in loss})
        with_losses.append(replace(row, loss=_means(loss), loss_change=change))
    return replace(found, rows=tuple(with_losses))


def draw(saved: Saved, concepts: Sequence[Concept], settings: SampleConfig, strengths: Sequence[float]) -> Drawn:
    """Pictures of the concepts from their captions: by the bare model, then by each adapter at each strength."""
    config = settings.model_copy(update={"prompts": [c.caption for c in concepts]})
    drawn: Drawn = {}
    for adapter, strength in [(None, None), *((a, s) for a in saved.adapters for s in strengths)]:
        saved.use(adapter, strength or 0.0)
        pictures = sample(saved.pipe, config, SIZE)
        drawn[adapter, strength] = np.stack([np.asarray(p.convert("RGB"), dtype=np.uint8) for p in pictures])
    return drawn


def judge(concepts: Sequence[Concept], style: str, drawn: Drawn, *, kid: bool = True) -> Evaluation:
    """Measure drawn pictures against the true ones, and those with an adapter against those without."""
    codes = [c.code for c in concepts]
    bare = measure(drawn[None, None], codes, style)
    rows = [Row("model", None, bare.estimates(kid=kid))]
    for (adapter, strength), pictures in drawn.items():
        if adapter is not None:
            found = measure(pictures, codes, style)
            rows.append(Row(adapter, strength, found.estimates(kid=kid), differences(bare, found, kid=kid)))
    return Evaluation(len(codes), style, tuple(rows))


def evaluate_folder(folder: Path, style: str) -> Evaluation:
    """Measure pictures named after their concept's code points, such as 1f34e.png."""
    found = scan(folder)
    if found.broken:
        raise UserError(f"{found.broken[0][0].name} cannot be read: {found.broken[0][1]}.")
    pictures = [load_pixels(image.path, SIZE) for image in found.images]
    if not pictures:
        raise UserError(f"{folder}: there is no image in this folder.")
    measured = measure(np.stack(pictures), [i.path.stem for i in found.images], style)
    return Evaluation(len(pictures), style, (Row("pictures", None, measured.estimates()),))


def _losses(saved: Saved, concepts: Sequence[Concept], style: str) -> dict[str, NDArray[np.float64]]:
    place = {c.code: i for i, c in enumerate(emoji.concepts(style))}
    chosen = list(concepts)[:LOSS_PICTURES]
    parts, device = saved.components, saved.components.unet.device
    latents = encode_pixels(parts, emoji.images(style)[[place[c.code] for c in chosen]], device)
    text = encode_captions(parts, [c.caption for c in chosen])
    schedule: NoiseSchedule = saved.schedule
    return by_band(epsilon_errors(parts, schedule, saved.prediction_type, latents, text), schedule)


def _means(losses: dict[str, NDArray[np.float64]]) -> dict[str, Estimate]:
    return {band: mean(values) for band, values in losses.items()}
