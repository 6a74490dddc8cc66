"""Evaluating a trained model: pictures of shipped concepts with and without its adapter, and its losses."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snrlab.config import RunConfig
from snrlab.config.sections.output import SampleConfig
from snrlab.core.errors import UserError
from snrlab.core.schedule import SCHEDULES, NoiseSchedule
from snrlab.data import emoji
from snrlab.data.dataset import load_items
from snrlab.data.emoji import Concept
from snrlab.data.image_folder import scan
from snrlab.data.images.pixels import load_pixels
from snrlab.evaluate.features import FeatureNet
from snrlab.evaluate.measures import Measures, ReferenceSet, concept_rows, differences
from snrlab.evaluate.open_model import OpenedModel, open_model
from snrlab.evaluate.strength import refuse_strength_without_lora
from snrlab.lab.statistics import Estimate, mean
from snrlab.models.encoding.encode import encode_captions, encode_pixels
from snrlab.models.storage.source import load_base
from snrlab.pictures.sampling import draw_pictures, pipeline
from snrlab.progress import Throughput
from snrlab.runs.folder import RunFolder
from snrlab.train.outputs.validation import epsilon_errors, errors_by_band

logger = logging.getLogger(__name__)

LOSS_PICTURES = 96
_SIZE = 64  # pixels along each side of the true pictures
ALL_WEIGHTS = "all weights"
DrawnPictures = dict[tuple[str | None, float | None], NDArray[np.uint8]]  # pictures [N, H, W, 3] by (adapter, strength)


@dataclass(frozen=True)
class Row:
    """Measures of one set of pictures, one row of the table.

    Attributes:
        name: `model` for the model before training; `step 200` or `final` with an adapter, `all weights` where all
            were trained; `pictures` for a folder.
        strength: strength of the adapter.
        measures: KID, paired distance, caption match, style, ...
        features: the feature network of each measure.
        change: paired differences to the measures of the model before training.
        loss: unweighted epsilon error by SNR band on true pictures; `loss_change` is its paired difference.
    """

    name: str
    strength: float | None
    measures: dict[str, Estimate]
    features: dict[str, str]
    change: dict[str, Estimate] = field(default_factory=dict)
    loss: dict[str, Estimate] = field(default_factory=dict)
    loss_change: dict[str, Estimate] = field(default_factory=dict)

    @classmethod
    def of(
        cls, name: str, measured: Measures, bare: Measures | None = None, *, strength: float | None, kid: bool
    ) -> Row:
        """The row of a set of pictures, with its change against the bare model."""
        measures = measured.estimates(kid=kid)
        networks = {measure: measured.style_net if measure == "style" else measured.net for measure in measures}
        return cls(name, strength, measures, networks, differences(bare, measured, kid=kid) if bare else {})


@dataclass(frozen=True)
class Evaluation:
    """Measures of `count` pictures against the true pictures of `style`; the first row is the untrained model's.

    Attributes:
        left_out: number of concepts left out because they were trained on; None for a LoRA whose training images are
            unknown.
    """

    count: int
    style: str
    rows: tuple[Row, ...]
    left_out: int | None = 0


def choose_concepts(style: str, which: str, count: int, seen: Sequence[str]) -> list[Concept]:
    """Choose concepts of a style to evaluate on: known to the base model or held out from it, never in `seen`.

    Raises:
        UserError: fewer than `count` are left.
    """
    remaining = [c for c in emoji.concepts(style) if c.held_out == (which == "held_out") and c.code not in set(seen)]
    if which == "held_out":
        count = min(count, len(remaining))
    if len(remaining) < count:
        raise UserError(
            f"--count is {count}, but only {len(remaining)} {which} concepts are left to evaluate on.",
            code="out-of-range",
        )
    chosen = np.sort(np.random.default_rng(0).permutation(len(remaining))[:count])
    return [remaining[i] for i in chosen]


def seen_in_training(config: RunConfig | None) -> tuple[str, ...]:
    """Codes of the shipped images that a run was trained on."""
    if config is None or config.data.shipped is None:
        return ()
    trained, _ = load_items(config.data, config.seed, config.validation.images)
    return tuple(item.name for item in trained)


def seen_by_lora(file: Path) -> tuple[str, ...] | None:
    """Codes that a LoRA file in its run folder was trained on; None for a file elsewhere, where they are unknown."""
    run = RunFolder(file.parent)
    return seen_in_training(run.read_config()) if run.started else None


def evaluate_source(
    source: Path,
    style: str,
    settings: SampleConfig,
    *,
    which: str = "known",
    count: int = 256,
    lora: Path | None = None,
    steps: Sequence[int] = (),
    strengths: Sequence[float] | None = None,
    net: FeatureNet | None = None,
) -> Evaluation:
    """Open a run or a model (see open_model) and evaluate it on concepts that it was not trained on.

    Raises:
        UserError: nothing usable at the source, too few concepts left, or strengths without a LoRA.
    """
    saved = open_model(source, lora, steps)
    refuse_strength_without_lora(strengths, has_lora=bool(saved.adapters))
    by_lora = seen_by_lora(lora) if lora else ()
    seen = {*seen_in_training(saved.config), *(by_lora or ())}
    concepts = choose_concepts(style, which, count, sorted(seen))
    evaluation = evaluate_pipeline(saved, concepts, style, settings, strengths or (1.0,), net)
    return replace(evaluation, left_out=None if by_lora is None else len(seen))


def evaluate_pipeline(
    saved: OpenedModel,
    concepts: Sequence[Concept],
    style: str,
    settings: SampleConfig,
    strengths: Sequence[float] = (1.0,),
    net: FeatureNet | None = None,
) -> Evaluation:
    """Draw every concept with the untrained and with the trained model, from the same noise; measure and compare.

    The trained model is each adapter at each strength, or the run's model where all weights were trained. The prompts
    are the concepts' captions; `settings.prompts` is ignored.
    """
    untrained = _untrained_model(saved)
    drawn = draw_concepts(untrained or saved, concepts, settings, () if untrained else strengths)
    if untrained:
        drawn[ALL_WEIGHTS, None] = draw_concepts(saved, concepts, settings, ())[None, None]
    evaluation = measure_drawn(concepts, style, drawn, net=net)
    logger.info(f"measuring the loss on {min(len(concepts), LOSS_PICTURES)} true pictures ...")
    base, *rows = evaluation.rows
    saved.use(None)
    base_loss = _epsilon_errors(untrained or saved, concepts, style)
    with_losses = [replace(base, loss=_means(base_loss))]
    for row in rows:
        saved.use(row.name, row.strength or 0.0)
        loss = _epsilon_errors(saved, concepts, style)
        change = _means({band: loss[band] - base_loss[band] for band in loss})
        with_losses.append(replace(row, loss=_means(loss), loss_change=change))
    return replace(evaluation, rows=tuple(with_losses))


def draw_concepts(
    saved: OpenedModel,
    concepts: Sequence[Concept],
    settings: SampleConfig,
    strengths: Sequence[float],
    *,
    bare: bool = True,
) -> DrawnPictures:
    """Draw the concepts from their captions with the bare model, if asked, then with each adapter at each strength."""
    config = settings.model_copy(update={"prompts": [c.caption for c in concepts]})
    drawn: DrawnPictures = {}
    adapted = [(a, s) for a in saved.adapters for s in strengths]
    chosen: list[tuple[str | None, float | None]] = [*([(None, None)] if bare else []), *adapted]
    progress = Throughput("pictures", len(concepts) * len(chosen), verb="drew")
    for adapter, strength in chosen:
        saved.use(adapter, strength or 0.0)
        pictures = draw_pictures(saved.pipe, config, _SIZE, drawn=progress.update)
        drawn[adapter, strength] = np.stack([np.asarray(p.convert("RGB"), dtype=np.uint8) for p in pictures])
    progress.close()
    return drawn


def measure_drawn(
    concepts: Sequence[Concept], style: str, drawn: DrawnPictures, *, kid: bool = True, net: FeatureNet | None = None
) -> Evaluation:
    """Measure drawn pictures against the true ones; the rows of adapters have their change against the bare model."""
    codes = [c.code for c in concepts]
    true = ReferenceSet.of(style, net)
    bare = true.measure(drawn[None, None], codes)
    rows = [Row.of("model", bare, strength=None, kid=kid)]
    for (adapter, strength), pictures in drawn.items():
        if adapter is not None:
            rows.append(Row.of(adapter, true.measure(pictures, codes), bare, strength=strength, kid=kid))
    return Evaluation(len(codes), style, tuple(rows))


def evaluate_folder(folder: Path, style: str, net: FeatureNet | None = None) -> Evaluation:
    """Measure pictures named after their concept's code points, such as 1f34e.png."""
    listing = scan(folder)
    if listing.unreadable:
        raise UserError(
            f"{listing.unreadable[0][0].name} cannot be read: {listing.unreadable[0][1]}.", code="unreadable-image"
        )
    if not listing.images:
        raise UserError(f"{folder}: there is no image in this folder.", code="no-images")
    codes = [image.path.stem for image in listing.images]
    concept_rows(style, codes)  # report a misnamed picture before the network processes all true ones
    pictures = np.stack([load_pixels(image.path, _SIZE) for image in listing.images])
    measured = ReferenceSet.of(style, net).measure(pictures, codes)
    return Evaluation(len(codes), style, (Row.of("pictures", measured, strength=None, kid=True),))


def _untrained_model(saved: OpenedModel) -> OpenedModel | None:
    """The model before a run that trained all its weights; None for any other source."""
    config = saved.config
    if config is None or config.train.method == "lora" or saved.adapters:
        return None
    model = load_base(config.model, config.seed)
    model.to(saved.components.unet.device).freeze()
    schedule = SCHEDULES.bind("scheduler_config", config=json.dumps(model.scheduler_config))()
    kind = model.known_prediction_type()
    return OpenedModel(pipeline(model, schedule, kind), model, schedule, kind, model.label, None, ())


def _epsilon_errors(saved: OpenedModel, concepts: Sequence[Concept], style: str) -> dict[str, NDArray[np.float64]]:
    rows = {c.code: i for i, c in enumerate(emoji.concepts(style))}
    chosen = list(concepts)[:LOSS_PICTURES]
    model, device = saved.components, saved.components.unet.device
    latents = encode_pixels(model, emoji.images(style)[[rows[c.code] for c in chosen]], device)
    text = encode_captions(model, [c.caption for c in chosen])
    schedule: NoiseSchedule = saved.schedule
    return errors_by_band(epsilon_errors(model, schedule, saved.prediction_type, latents, text), schedule)


def _means(losses: dict[str, NDArray[np.float64]]) -> dict[str, Estimate]:
    return {band: mean(values) for band, values in losses.items()}
