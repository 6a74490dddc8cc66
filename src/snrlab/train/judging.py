"""Evaluating what was trained: pictures of shipped concepts, with and without the adapter, and its losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from diffusers import StableDiffusionPipeline
from numpy.typing import NDArray

from snrlab.config.run import SampleConfig
from snrlab.core.errors import UserError
from snrlab.core.schedule import NoiseSchedule
from snrlab.data import emoji
from snrlab.data.emoji import Concept
from snrlab.data.examples import load_examples
from snrlab.data.folder import load_pixels, scan
from snrlab.lab.statistics import Estimate, mean
from snrlab.models.encode import encode_captions, encode_pixels
from snrlab.train.evaluate import differences, measure
from snrlab.train.sampling import sample
from snrlab.train.saved import Saved
from snrlab.train.validation import by_band, epsilon_errors

LOSS_PICTURES = 96
SIZE = 64  # the judge's


@dataclass(frozen=True)
class Evaluation:
    """Measures of one source, and against the same source without its adapter where it has one.

    Attributes:
        count: number of pictures.
        measures: of the source; `without` of the model without the adapter; `change` source minus without.
        loss: unweighted epsilon error by SNR band on true pictures; `loss_change` against without.
    """

    count: int
    measures: dict[str, Estimate]
    without: dict[str, Estimate] = field(default_factory=dict)
    change: dict[str, Estimate] = field(default_factory=dict)
    loss: dict[str, Estimate] = field(default_factory=dict)
    loss_change: dict[str, Estimate] = field(default_factory=dict)


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
    return load_examples(saved.config.data, saved.config.seed).names


def evaluate_pipeline(saved: Saved, concepts: Sequence[Concept], style: str, settings: SampleConfig) -> Evaluation:
    """Draw every concept with and, where there is an adapter, without it; measure both; compare their losses."""
    codes = [c.code for c in concepts]
    config = settings.model_copy(update={"prompts": [c.caption for c in concepts]})
    measured = measure(_draw(saved.pipe, config), codes, style)
    if not saved.has_adapter:
        return Evaluation(len(codes), measured.estimates(), loss=_means(_losses(saved, concepts, style)))
    loss = _losses(saved, concepts, style)
    saved.pipe.disable_lora()
    try:
        bare, bare_loss = measure(_draw(saved.pipe, config), codes, style), _losses(saved, concepts, style)
    finally:
        saved.pipe.enable_lora()
    return Evaluation(
        count=len(codes),
        measures=measured.estimates(),
        without=bare.estimates(),
        change=differences(bare, measured),
        loss=_means(loss),
        loss_change=_means({band: loss[band] - bare_loss[band] for band in loss}),
    )


def evaluate_folder(folder: Path, style: str) -> Evaluation:
    """Measure pictures named after their concept's code points, such as 1f34e.png."""
    found = scan(folder)
    if found.broken:
        raise UserError(f"{found.broken[0][0].name} cannot be read: {found.broken[0][1]}.")
    pictures = [load_pixels(image.path, SIZE) for image in found.images]
    if not pictures:
        raise UserError(f"{folder}: there is no image in this folder.")
    return Evaluation(
        len(pictures), measure(np.stack(pictures), [i.path.stem for i in found.images], style).estimates()
    )


def _draw(pipe: StableDiffusionPipeline, config: SampleConfig) -> NDArray[np.uint8]:
    return np.stack([np.asarray(p.convert("RGB"), dtype=np.uint8) for p in sample(pipe, config, SIZE)])


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
