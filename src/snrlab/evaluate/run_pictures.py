"""Pictures for a comparison of runs: what each of them draws from the same prompts and the same noise."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

from PIL import Image

from snrlab.config import RunConfig
from snrlab.config.sections.output import SampleConfig
from snrlab.core.errors import UserError
from snrlab.evaluate.open_model import OpenedModel, open_model
from snrlab.lab.run_comparison.picture_table import PictureRow, PictureTable, PictureView
from snrlab.lab.run_comparison.run_record import RunRecord
from snrlab.pictures.sampling import draw_pictures
from snrlab.runs.folder import RunFolder

MOST_PROMPTS = 8  # where the runs' own prompts differ, so many of all of them are drawn
_LOSSLESS = 160  # pixels of width up to which a picture is a PNG; larger ones are WebP, a tenth of the size
# what decides, besides [sample], which picture a base model draws
_BASE_FIELDS = ("path", "shipped", "random", "vae", "clip_skip", "max_tokens", "precision")


def draw_run_pictures(
    records: Sequence[RunRecord],
    prompts: Sequence[str] = (),
    steps: Sequence[int] = (),
    strengths: Sequence[float] = (),
    drawn: Callable[[int], None] = lambda count: None,
) -> PictureTable:
    """Draw the table of pictures.

    By default each run's saved LoRAs and its final one at strength 1, and each base model.

    Args:
        records: the runs.
        prompts: instead of the runs' own.
        steps: steps of the LoRAs to draw with, instead of all.
        strengths: LoRA strengths; 0 is the base model.
        drawn: called with the number of pictures newly drawn.

    Raises:
        UserError: no run has a prompt, none has finished, or a step is saved by none of them.
    """
    sample = _common_sample(records, prompts)
    size = records[0].config.data.side
    views = _views(records, steps, [value for value in strengths or (1.0,) if value != 0])
    rows: list[PictureRow] = []
    bases: dict[str, str] = {}
    with_base = not strengths or 0 in strengths
    for record in records:
        if not record.finished:
            rows.append(PictureRow(record.label, {}, "Not finished, so nothing was drawn."))
            continue
        opened = open_model(record.path, steps=_steps_to_open(record, views))
        if with_base and opened.adapters and _base_of(record.config) not in bases:
            opened.use(None)
            pictures = draw_pictures(opened.pipe, sample, size, drawn=drawn)
            bases[_base_of(record.config)] = record.label
            rows.insert(len(bases) - 1, PictureRow(_base_label(record, records), {None: _files(pictures)}))
        if views:
            rows.append(_row(record, opened, views, sample, size, drawn))
    return PictureTable(tuple(sample.prompts), tuple(rows), views, _notes(sample, size))


def picture_count(records: Sequence[RunRecord], prompts: Sequence[str], steps: Sequence[int], strengths: int) -> int:
    """About how many pictures `draw_run_pictures` draws, for a progress line."""
    per_view = len(_common_sample(records, prompts).prompts)
    views = sum(len(steps) or 1 + len(_saved_steps(record)) for record in records if record.finished)
    return per_view * (views * max(1, strengths) + 1)


def _common_sample(records: Sequence[RunRecord], prompts: Sequence[str]) -> SampleConfig:
    """The [sample] section to draw with: the first run's, with the prompts of all where they differ."""
    own = [record.config.sample.prompts for record in records]
    union = list(dict.fromkeys(line for lines in own for line in lines))
    agreed = own[0] if all(lines == own[0] for lines in own) else union[:MOST_PROMPTS]
    if not (prompts or agreed):
        raise UserError(
            'no run has sample prompts, so there is nothing to draw. Give --prompt "...", or --no-pictures.',
            code="nothing-to-do",
        )
    return records[0].config.sample.model_copy(update={"prompts": list(prompts or agreed)})


def _views(records: Sequence[RunRecord], steps: Sequence[int], strengths: Sequence[float]) -> tuple[PictureView, ...]:
    """The places of the slider: rising strengths at every step but the last, then at the end."""
    saved = sorted({step for record in records if record.finished for step in _saved_steps(record)})
    ends = {record.config.train.steps for record in records}
    missing = next((step for step in steps if step not in (*saved, *ends)), None)
    if missing is not None:
        allowed = ", ".join(map(str, sorted({*saved, *ends})))
        raise UserError(f"--step: no run has a LoRA of step {missing}. Allowed: {allowed}.", code="no-checkpoint")
    common_end = ends if len(ends) == 1 else set()
    places: list[int | None] = [step for step in (steps or saved) if step not in common_end]
    if not steps or common_end & set(steps):
        places.append(None)
    return tuple(PictureView(step, strength) for step in places for strength in sorted(strengths))


def _saved_steps(record: RunRecord) -> list[int]:
    config = record.config
    return RunFolder(record.path).intermediate_steps(config) if config.train.method == "lora" else []


def _steps_to_open(record: RunRecord, views: Sequence[PictureView]) -> list[int]:
    """Steps of the run's LoRAs to attach; none where only the final one is drawn, or where there are no LoRAs."""
    if record.config.train.method != "lora":
        return []
    wanted, end = {view.step for view in views}, record.config.train.steps
    steps = [step for step in _saved_steps(record) if step in wanted]
    return [*steps, *([end] if wanted & {None, end} else [])]


def _row(
    record: RunRecord,
    opened: OpenedModel,
    views: Sequence[PictureView],
    sample: SampleConfig,
    size: int,
    drawn: Callable[[int], None],
) -> PictureRow:
    pictures: dict[PictureView | None, tuple[bytes, ...]] = {}
    for view in views:
        step = record.config.train.steps if view.step is None else view.step
        if f"step {step}" in opened.adapters:
            opened.use(f"step {step}", view.strength)
        elif opened.adapters or view.step is not None or view.strength != 1:
            continue  # of a whole model there is only the end, at full strength
        pictures[view] = _files(draw_pictures(opened.pipe, sample, size, drawn=drawn))
    return PictureRow(record.label, pictures)


def _base_of(config: RunConfig) -> str:
    """A key that is the same for runs whose base models draw the same pictures."""
    recipe, model = config.recipe, config.model
    seed = config.seed if model.random else None
    return repr([*(getattr(model, name) for name in _BASE_FIELDS), seed, recipe.prediction_type, recipe.schedule])


def _base_label(record: RunRecord, records: Sequence[RunRecord]) -> str:
    several = len({_base_of(other.config) for other in records}) > 1
    return f"without a LoRA: base model of {record.label}" if several else "without a LoRA"


def _notes(sample: SampleConfig, size: int) -> tuple[str, ...]:
    return (
        f"Each column has one prompt and the same noise. {size} pixels, {sample.steps} sampler steps, guidance "
        f"{sample.guidance:g}, seed {sample.seed}.",
    )


def _files(pictures: Sequence[Image.Image]) -> tuple[bytes, ...]:
    return tuple(map(_file, pictures))


def _file(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    if picture.width <= _LOSSLESS:
        picture.save(content, format="PNG")
    else:
        picture.save(content, format="WEBP", quality=90)
    return content.getvalue()
